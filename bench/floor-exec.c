// The floor of a command in a container that runs: a process born into a group of its own, one setns, a clone, the ids,
// execve, and the removal of the group, in straight C, without a launcher, an interpreter or Node.
//
//   floor-exec PID FLAGS FILE {DIRECTORY}…
//
// The directories are those of the group, the v2 one first (or `-`), in which `@` becomes the number of the slot. Each line on
// stdin, `COUNT FLIGHT [WORD…]`, does COUNT runs with FLIGHT at a time, of that or else of the command line WORD…, and is
// answered with the nanoseconds all took.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 64, PLACES = 16 };

static int container, flags, null_fd;
static const char *file;
static char **directories;

static void must(const char *what, long result) {
  if (result >= 0) return;
  fprintf(stderr, "floor-exec: %s: %s\n", what, strerror(errno));
  _exit(126);
}

static const char *in_slot(const char *path, int slot) {
  static char copy[4096];
  const char *at = strchr(path, '@');
  if (!at) return path;
  snprintf(copy, sizeof copy, "%.*s%d%s", (int)(at - path), path, slot, at + 1);
  return copy;
}

static void become(void) {
  static char *const none[] = {NULL};
  char *argv[] = {(char *)file, NULL};
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  must("chdir", chdir("/"));
  for (int i = 0; i < 3; ++i) dup2(null_fd, i);
  execve(file, argv, none);
  must(file, -1);
}

// As the library does it: whatever takes privileges is done by who goes ahead.
static void go_ahead(const int *tasks, int pidfd) {
  for (; *tasks >= 0; ++tasks) must("tasks", write(*tasks, "0", 1));
  prctl(PR_SET_DUMPABLE, 0);
  must("setns", setns(pidfd, flags));
  for (int capability = 0; capability < 41; ++capability) prctl(PR_CAPBSET_DROP, capability);
  must("setgroups", syscall(SYS_setgroups, 0, NULL));
  must("setresgid", syscall(SYS_setresgid, 65534, 65534, 65534));
  must("setresuid", syscall(SYS_setresuid, 65534, 65534, 65534));
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {0};
  must("capset", syscall(SYS_capset, &header, data));
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  struct clone_args args = {.flags = CLONE_PARENT | CLONE_CLEAR_SIGHAND};
  const long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) become();
  must("clone3", pid);
  _exit(0);
}

static void start(int slot) {
  int tasks[PLACES], count = 0, unified = -1;
  for (char **at = directories; *at; ++at) {
    if (!strcmp(*at, "-")) continue;
    char path[4200];
    snprintf(path, sizeof path, "%s", in_slot(*at, slot));
    must(path, mkdir(path, 0755));
    if (at == directories) {
      unified = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      continue;
    }
    strcat(path, "/tasks");
    tasks[count++] = open(path, O_WRONLY | O_CLOEXEC);
  }
  tasks[count] = -1;
  struct clone_args args = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
  if (unified >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = unified;
  }
  const long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) go_ahead(tasks, container);
  must("clone3", pid);
  if (unified >= 0) close(unified);
  for (int *fd = tasks; *fd >= 0; ++fd) close(*fd);
}

static void finish(int slot) {
  for (char **at = directories; *at; ++at) {
    if (!strcmp(*at, "-")) continue;
    while (rmdir(in_slot(*at, slot)) < 0 && errno == EBUSY) usleep(100);
  }
}

static void start_words(char **words) {
  const pid_t pid = vfork();
  if (pid == 0) {
    for (int i = 0; i < 3; ++i) dup2(null_fd, i);
    execvp(words[0], words);
    _exit(127);
  }
  must("vfork", pid);
}

static void reap(int count, const char *what) {
  for (int i = 0; i < count; ++i) {
    int status;
    must("wait", waitpid(-1, &status, __WALL));
    if (status == 0) continue;
    fprintf(stderr, "floor-exec: %s ended with %x\n", what, (unsigned)status);
    _exit(126);
  }
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

// In flights of that many, each of which ends before the next begins.
static uint64_t time_runs(int count, int flight, char **words) {
  const uint64_t before = now();
  for (int done = 0; done < count; done += flight) {
    const int together = count - done < flight ? count - done : flight;
    for (int i = 0; i < together; ++i) {
      if (words) start_words(words);
      else start(i);
    }
    reap(words ? together : 2 * together, words ? words[0] : file);
    for (int i = 0; !words && i < together; ++i) finish(i);
  }
  return now() - before;
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  container = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
  must("pidfd_open", container);
  flags = atoi(argv[2]);
  file = argv[3];
  directories = argv + 4;
  null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  static char line[16384];
  while (fgets(line, sizeof line, stdin)) {
    char *words[WORDS] = {0};
    const int count = atoi(strtok(line, " \n")), flight = atoi(strtok(NULL, " \n"));
    for (int i = 0; i < WORDS - 1 && (words[i] = strtok(NULL, " \n")); ++i) {
    }
    printf("%llu\n", (unsigned long long)time_runs(count, flight, words[0] ? words : NULL));
    fflush(stdout);
  }
  return 0;
}
