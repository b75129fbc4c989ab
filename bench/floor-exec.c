// The floor of a command in a container that runs: a process born into a group of its own, one setns, a clone, the ids,
// execve, and the removal of the group, in straight C, without a launcher, an interpreter or Node.
//
//   floor-exec PID FLAGS FILE {DIRECTORY}…
//
// The directories are those of the group, the v2 one first (or `-`).
#define _GNU_SOURCE
#include "floor-lines.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PLACES = 16 };

static int container, flags;
static const char *file;
static char **directories;

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

static void reap(int count, const char *what) {
  for (int i = 0; i < count; ++i) {
    int status;
    must("wait", waitpid(-1, &status, __WALL));
    if (status == 0) continue;
    fprintf(stderr, "floor: %s ended with %x\n", what, (unsigned)status);
    _exit(126);
  }
}

// In flights of that many, each of which ends before the next begins.
static void run_all(int count, int flight, char **words) {
  for (int done = 0; done < count; done += flight) {
    const int together = count - done < flight ? count - done : flight;
    for (int i = 0; i < together; ++i) {
      if (words) start_words(words, i);
      else start(i);
    }
    reap(words ? together : 2 * together, words ? words[0] : file);
    for (int i = 0; !words && i < together; ++i) finish(i);
  }
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  container = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
  must("pidfd_open", container);
  flags = atoi(argv[2]);
  file = argv[3];
  directories = argv + 4;
  return answer_lines(run_all);
}
