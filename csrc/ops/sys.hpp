// Thin shims for system calls that a libc lacks or wraps with more than the call. Raw calls on purpose: between
// clone3 and execve nothing may allocate or take a lock, and setresuid & co of a libc may do both.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_clone3
#error "needs the headers of Linux 5.14 or later"
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

namespace contained::sys {

// A descriptor with one owner.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

// CLOCK_MONOTONIC.
inline uint64_t nanoseconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000000 + static_cast<uint64_t>(time.tv_nsec);
}

// errno of a finished call, 0 for success.
inline int check(long result) { return result < 0 ? errno : 0; }

inline int openat2(int at, const char* path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = resolve;
  // RESOLVE_IN_ROOT answers EAGAIN when a rename happens at the wrong moment: openat2(2), ERRORS.
  for (int tries = 0;; ++tries) {
    const long fd = syscall(SYS_openat2, at, path, &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || tries == 100) return static_cast<int>(fd);
  }
}

// A path inside a root that its owner may be changing meanwhile: symlinks and `..` stay inside, /proc links are refused.
inline int open_in_root(int root, const char* path, uint64_t flags) {
  return openat2(root, path, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

inline int open_tree(int at, const char* path, unsigned flags) {
  return static_cast<int>(syscall(SYS_open_tree, at, path, flags | OPEN_TREE_CLOEXEC));
}
inline int move_mount(int from, int to) {
  return static_cast<int>(
      syscall(SYS_move_mount, from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}
inline int mount_setattr(int at, const char* path, unsigned flags, mount_attr* attributes) {
  return static_cast<int>(syscall(SYS_mount_setattr, at, path, flags, attributes, sizeof *attributes));
}
inline int fsopen(const char* type) { return static_cast<int>(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC)); }
inline int fsconfig(int fs, unsigned command, const char* key, const char* value) {
  return static_cast<int>(syscall(SYS_fsconfig, fs, command, key, value, 0));
}
inline int fsmount(int fs, unsigned attributes) {
  return static_cast<int>(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes));
}
inline int pivot_root(const char* root, const char* old) {
  return static_cast<int>(syscall(SYS_pivot_root, root, old));
}
inline int mount(const char* source, const char* target, const char* type, uint64_t flags, const char* data) {
  return static_cast<int>(syscall(SYS_mount, source, target, type, flags, data));
}
inline int umount(const char* target, int flags) { return static_cast<int>(syscall(SYS_umount2, target, flags)); }
inline int unshare(uint64_t flags) { return static_cast<int>(syscall(SYS_unshare, flags)); }
inline int setns(int fd, uint64_t flags) { return static_cast<int>(syscall(SYS_setns, fd, flags)); }
inline int close_range(unsigned first, unsigned last, unsigned flags) {
  return static_cast<int>(syscall(SYS_close_range, first, last, flags));
}
inline int pidfd_send_signal(int pidfd, int signal, unsigned flags = 0) {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, flags));
}
constexpr unsigned kProcessGroup = 1 << 2;  // PIDFD_SIGNAL_PROCESS_GROUP, since Linux 6.9

// linux/pidfd.h, since Linux 6.13, in the size of the first version; what is told of who has been reaped since 6.15.
struct PidfdInfo {
  uint64_t mask = 0, cgroup = 0;
  uint32_t ids[11] = {};
  int32_t exit_code = -1;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr uint64_t kPidfdInfoExit = 1 << 3;

inline int pidfd_get_info(int pidfd, PidfdInfo* ret) {
  *ret = PidfdInfo();
  ret->mask = kPidfdInfoExit;
  return ioctl(pidfd, _IOWR(0xFF, 11, PidfdInfo), ret);
}

struct CloneResult {
  pid_t pid;  // 0 in the child, -1 with errno
  int pidfd;
};

// A process that shares nothing with us but what `flags` leave shared; with CLONE_PARENT a child of our parent (see
// launcher.cc). The kernel writes its pid to `place`, so that there is no moment when a child is there and not on record:
// CLONE_PARENT_SETTID, clone(2).
inline CloneResult clone_process(uint64_t flags, int cgroup, int32_t* place) {
  int pidfd = -1;
  clone_args args{};
  args.flags = flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | CLONE_PARENT_SETTID;
  args.parent_tid = reinterpret_cast<uint64_t>(place);
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  if (cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup);
  }
  const long pid = syscall(SYS_clone3, &args, sizeof args);
  return {static_cast<pid_t>(pid), pidfd};
}

// The whole of a small file, NUL-terminated; returns its length or -1 with errno.
inline ssize_t read_file(int at, const char* path, char* ret, size_t size) {
  const Fd fd(openat(at, path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return -1;
  size_t used = 0;
  while (used + 1 < size) {
    const ssize_t n = read(fd.get(), ret + used, size - 1 - used);
    if (n < 0) return -1;
    if (n == 0) break;
    used += static_cast<size_t>(n);
  }
  ret[used] = 0;
  return static_cast<ssize_t>(used);
}

}  // namespace contained::sys
