#include "held.hpp"

#include "sys.hpp"

#include <dirent.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace contained {

namespace {

constexpr int kThreads = 1000;  // looked at in one go

// Stands for the process, whatever becomes of its number: pidfd_send_signal(2).
sys::Fd open_process(pid_t pid) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d", pid);
  return sys::Fd(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

ino_t namespace_at(int directory, const char* kind) {
  char path[16];
  struct stat found;
  snprintf(path, sizeof path, "ns/%s", kind);
  return fstatat(directory, path, &found, 0) < 0 ? 0 : found.st_ino;
}

// NS_GET_PARENT ends at our own: ioctl_ns(2).
bool is_within(int directory, const char* kind, ino_t inode) {
  char path[16];
  snprintf(path, sizeof path, "ns/%s", kind);
  struct stat found;
  for (sys::Fd at(openat(directory, path, O_RDONLY | O_CLOEXEC)); at; at.reset(ioctl(at.get(), NS_GET_PARENT)))
    if (fstat(at.get(), &found) == 0 && found.st_ino == inode) return true;
  return false;
}

// /proc/self, since our number in this /proc may be another one.
ino_t own_namespace(const char* kind) {
  const sys::Fd own(open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return own ? namespace_at(own.get(), kind) : 0;
}

// Whether a process is in a namespace that the other is in, and that is not ours.
bool shares_container(int directory, int other) {
  const char* const kinds[] = {"pid", "user"};
  for (const char* kind : kinds) {
    const ino_t inode = namespace_at(other, kind), own = own_namespace(kind);
    if (inode && own && inode != own && is_within(directory, kind, inode)) return true;
  }
  return false;
}

bool has_ended(int directory) {
  char text[1024];
  if (sys::read_file(directory, "stat", text, sizeof text) < 0) return true;
  const char* name_end = strrchr(text, ')');
  return !name_end || name_end[2] == 'Z' || name_end[2] == 'X';
}

pid_t tracer_of(int tasks, const char* thread) {
  char path[32], text[4096];
  snprintf(path, sizeof path, "%s/status", thread);
  const char* at = sys::read_file(tasks, path, text, sizeof text) < 0 ? nullptr : strstr(text, "\nTracerPid:\t");
  return at ? atoi(at + strlen("\nTracerPid:\t")) : 0;
}

template <typename F>
void for_each_number(const char* path, F act) {
  DIR* directory = opendir(path);
  if (!directory) return;
  while (const dirent* entry = readdir(directory))
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') act(dirfd(directory), entry->d_name);
  closedir(directory);
}

}  // namespace

void reap_threads(pid_t pid) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  int left = kThreads;
  for_each_number(path, [&](int, const char* thread) {
    const pid_t number = atoi(thread);
    if (number != pid && --left >= 0) syscall(SYS_waitid, P_PID, number, nullptr, WEXITED | WNOHANG | __WALL, nullptr);
  });
}

bool free_held(pid_t pid) {
  reap_threads(pid);
  const sys::Fd process = open_process(pid);
  bool held = false;
  int left = kThreads;
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  for_each_number(path, [&](int tasks, const char* thread) {
    const pid_t tracer = --left < 0 ? 0 : tracer_of(tasks, thread);
    if (tracer <= 0 || tracer == getpid()) return;
    held = true;
    const sys::Fd who = open_process(tracer);
    if (process && who && shares_container(who.get(), process.get())) sys::pidfd_send_signal(who.get(), SIGKILL);
  });
  return held;
}

ino_t namespace_of(pid_t pid, const char* kind) {
  const sys::Fd process = open_process(pid);
  return process ? namespace_at(process.get(), kind) : 0;
}

int end_namespace(const char* kind, ino_t inode) {
  int left = 0;
  const ino_t own = own_namespace(kind);
  if (!inode || !own || inode == own) return left;
  for_each_number("/proc", [&](int, const char* number) {
    const sys::Fd process = open_process(atoi(number));
    if (!process || !is_within(process.get(), kind, inode) || has_ended(process.get())) return;
    sys::pidfd_send_signal(process.get(), SIGKILL);
    ++left;
  });
  return left;
}

constexpr int kLook = WEXITED | WNOHANG | WNOWAIT | __WALL | __WNOTHREAD;

bool has_zombie() {
  siginfo_t info{};
  return syscall(SYS_waitid, P_ALL, 0, &info, kLook, nullptr) == 0 && info.si_pid != 0;
}

void for_each_zombie(void (*act)(pid_t, void*), void* data) {
  static char text[64 * 1024];  // one thread of a process calls this
  if (!has_zombie() || sys::read_file(AT_FDCWD, "/proc/thread-self/children", text, sizeof text) < 0) return;
  char* rest;
  // Each number is followed by a space; one that is not is a part of one.
  for (char* at = text;; at = rest) {
    const pid_t child = static_cast<pid_t>(strtol(at, &rest, 10));
    if (rest == at || *rest != ' ') return;
    siginfo_t info{};
    if (syscall(SYS_waitid, P_PID, child, &info, kLook, nullptr) == 0 && info.si_pid == child) act(child, data);
  }
}

}  // namespace contained
