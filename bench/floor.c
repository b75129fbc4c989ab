// The floor: the system calls of this library's programs (see `explain`) in straight C, without a launcher, an
// interpreter or Node. What is left out is only what talks to the launcher: the socket pair and the op `wait`.
//
//   floor CASE ROOTFS FILE {OP PATH TEXT}…
//   floor hold CONTROLLER…
//
// CASE: 0 bare, 1 pid+mnt, 2 full without net, 3 full with net. The cgroup ops are arguments because their paths are the
// host's; `@` in a path becomes the number of the slot, since runs in flight need a group each. Each line on stdin,
// `COUNT FLIGHT [WORD…]`, does COUNT runs with FLIGHT at a time, of the case or else of the command line WORD…, and is
// answered with the nanoseconds all took. A command line is started from here so that no peer is charged for Node's fork.
//
// That the calls are the same was checked on Linux 6.18 by bench/same.js, which compares what strace counts.
#define _GNU_SOURCE
#include "floor-child.h"

#include <linux/sched.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

enum { FLIGHT = 64, WORDS = 64, TASKS = 16 };

struct run {
  pid_t pid;
  int pidfd;
};

static char **cgroup_ops;

static const char *in_slot(const char *path, int slot) {
  static char copy[4096];
  const char *at = strchr(path, '@');
  if (!at) return path;
  snprintf(copy, sizeof copy, "%.*s%d%s", (int)(at - path), path, slot, at + 1);
  return copy;
}

static void write_file(const char *path, const char *text) {
  const int fd = openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return;
  must(path, write(fd, text, strlen(text)));
  close(fd);
}

static void read_file(const char *path) {
  char text[4096];
  const int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return;
  while (read(fd, text, sizeof text) > 0) {
  }
  close(fd);
}

static void make_cgroups(int slot, int *directory, int *tasks) {
  *directory = -1;
  for (char **op = cgroup_ops; *op; op += 3) {
    const char *path = in_slot(op[1], slot);
    if (!strcmp(op[0], "mkdir")) must(path, mkdirat(AT_FDCWD, path, 0755));
    if (!strcmp(op[0], "write")) write_file(path, op[2]);
    if (!strcmp(op[0], "directory")) *directory = open_plain(path, O_RDONLY | O_DIRECTORY);
    if (!strcmp(op[0], "tasks")) *tasks++ = open_plain(path, O_WRONLY);
  }
  *tasks = -1;
}

// A group can be busy for a moment after its last process was reaped, as when it is shared with a zombie's exit.
static void remove_cgroups(int slot) {
  for (char **op = cgroup_ops; *op; op += 3) {
    const char *path = in_slot(op[1], slot);
    if (!strcmp(op[0], "kill")) write_file(path, "1");
    if (!strcmp(op[0], "read")) read_file(path);
    if (!strcmp(op[0], "rmdir")) {
      while (unlinkat(AT_FDCWD, path, AT_REMOVEDIR) < 0 && errno == EBUSY) usleep(100);
    }
  }
}

static struct run start_case(int slot) {
  static const uint64_t flags[] = {0, CLONE_NEWPID | CLONE_NEWNS, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS,
                                   CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET};
  int directory, tasks[TASKS];
  struct run run;
  make_cgroups(slot, &directory, tasks);
  struct clone_args args = {.flags = flags[kind] | CLONE_PIDFD | CLONE_CLEAR_SIGHAND, .pidfd = (uintptr_t)&run.pidfd, .exit_signal = SIGCHLD};
  if (directory >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = directory;
  }
  run.pid = syscall(SYS_clone3, &args, sizeof args);
  if (run.pid == 0) become_command(tasks);
  must("clone3", run.pid);
  if (directory >= 0) close(directory);
  for (int *fd = tasks; *fd >= 0; ++fd) close(*fd);
  return run;
}

// The words are made before the fork: the child shares our memory until execve.
static struct run start_words(char **words, int number) {
  char copies[WORDS][512], *argv[WORDS + 1] = {0};
  for (int i = 0; words[i]; ++i) argv[i] = strcpy(copies[i], in_slot(words[i], number));
  struct run run;
  run.pid = vfork();
  if (run.pid == 0) {
    for (int i = 0; i < 3; ++i) dup2(null_fd, i);
    execvp(argv[0], argv);
    _exit(127);
  }
  must("vfork", run.pid);
  run.pidfd = syscall(SYS_pidfd_open, run.pid, 0);
  return run;
}

static void finish(struct run run, int slot, char **words) {
  siginfo_t info;
  must("waitid", waitid(P_PIDFD, run.pidfd, &info, WEXITED));
  close(run.pidfd);
  if (!words) remove_cgroups(slot);
  if (info.si_code == CLD_EXITED && info.si_status == 0) return;
  fprintf(stderr, "floor: %s ended with %d\n", words ? words[0] : file, info.si_status);
  _exit(126);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static struct run start(int slot, char **words) { return words ? start_words(words, slot) : start_case(slot); }

static uint64_t time_runs(int count, int flight, char **words) {
  struct run runs[FLIGHT];
  struct pollfd polls[FLIGHT];
  int started = 0;
  const uint64_t before = now();
  for (; started < flight && started < count; ++started) {
    runs[started] = start(started, words);
    polls[started] = (struct pollfd){runs[started].pidfd, POLLIN, 0};
  }
  const int slots = started;
  for (int left = count; left > 0;) {
    poll(polls, slots, -1);
    for (int i = 0; i < slots; ++i) {
      if (polls[i].fd < 0 || !polls[i].revents) continue;
      finish(runs[i], i, words);
      --left;
      polls[i].fd = -1;
      if (started == count) continue;
      ++started;
      runs[i] = start(i, words);
      polls[i].fd = runs[i].pidfd;
    }
  }
  return now() - before;
}

// The mounts are attached nowhere, so that they end with this process, however it ends.
static int hold(char **controllers) {
  for (; *controllers; ++controllers) {
    const int fs = fsopen("cgroup", FSOPEN_CLOEXEC);
    must(*controllers, fsconfig(fs, FSCONFIG_SET_FLAG, *controllers, NULL, 0));
    must(*controllers, fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    must(*controllers, fsmount(fs, FSMOUNT_CLOEXEC, 0));
  }
  puts("held");
  fflush(stdout);
  return getchar() != EOF;
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "hold")) return hold(argv + 2);
  if (argc < 4) return 2;
  kind = atoi(argv[1]);
  rootfs = argv[2];
  file = argv[3];
  cgroup_ops = argv + 4;
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
