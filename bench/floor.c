// The floor: the system calls of this library's programs (see `explain`) in straight C, without a launcher, an
// interpreter or Node. What is left out is only what talks to the launcher: the socket pair and the op `wait`.
//
//   floor CASE ROOTFS FILE {OP PATH TEXT}…
//   floor hold CONTROLLER…
//
// CASE: 0 bare, 1 pid+mnt, 2 full without net, 3 full with net. The cgroup ops are arguments because their paths are the
// host's.
//
// That the calls are the same was checked on Linux 6.18 by bench/same.js, which compares what strace counts.
#define _GNU_SOURCE
#include "floor-child.h"

#include <linux/sched.h>
#include <poll.h>
#include <sys/wait.h>

enum { FLIGHT = 64, TASKS = 16 };

struct run {
  pid_t pid;
  int pidfd;
};

static char **cgroup_ops;

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

static void finish(struct run run, int slot, char **words) {
  siginfo_t info;
  must("waitid", waitid(P_PIDFD, run.pidfd, &info, WEXITED));
  close(run.pidfd);
  if (!words) remove_cgroups(slot);
  if (info.si_code == CLD_EXITED && info.si_status == 0) return;
  fprintf(stderr, "floor: %s ended with %d\n", words ? words[0] : file, info.si_status);
  _exit(126);
}

static struct run start(int slot, char **words) {
  if (!words) return start_case(slot);
  const pid_t pid = start_words(words, slot);
  return (struct run){pid, syscall(SYS_pidfd_open, pid, 0)};
}

static void run_all(int count, int flight, char **words) {
  struct run runs[FLIGHT];
  struct pollfd polls[FLIGHT];
  int started = 0;
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
  return answer_lines(run_all);
}
