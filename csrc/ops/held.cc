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

bool is_contained(int directory) {
  const sys::Fd own = open_process(getpid());
  const char* const kinds[] = {"pid", "user"};
  for (const char* kind : kinds) {
    const ino_t inode = namespace_at(directory, kind);
    if (inode && inode != namespace_at(own.get(), kind)) return true;
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

void free_held(pid_t pid) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  for_each_number(path, [pid](int tasks, const char* thread) {
    const pid_t number = atoi(thread);
    if (number != pid) syscall(SYS_waitid, P_PID, number, nullptr, WEXITED | WNOHANG | __WALL, nullptr);
    const pid_t tracer = tracer_of(tasks, thread);
    if (tracer <= 0 || tracer == getpid()) return;
    const sys::Fd process = open_process(tracer);
    if (process && is_contained(process.get())) sys::pidfd_send_signal(process.get(), SIGKILL);
  });
}

ino_t namespace_of(pid_t pid, const char* kind) { return namespace_at(open_process(pid).get(), kind); }

int end_namespace(const char* kind, ino_t inode) {
  int left = 0;
  if (inode == namespace_of(getpid(), kind)) return left;
  for_each_number("/proc", [&](int, const char* number) {
    const sys::Fd process = open_process(atoi(number));
    if (!process || !is_within(process.get(), kind, inode) || has_ended(process.get())) return;
    sys::pidfd_send_signal(process.get(), SIGKILL);
    ++left;
  });
  return left;
}

int zombie_children(pid_t* ret, int size) {
  siginfo_t info{};
  // Mostly there is none.
  if (syscall(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL | __WNOTHREAD, nullptr) < 0 || info.si_pid == 0) return 0;
  static char text[64 * 1024];  // one thread of a process calls this
  if (sys::read_file(AT_FDCWD, "/proc/thread-self/children", text, sizeof text) < 0) return 0;
  int count = 0;
  char* rest;
  for (char* at = text; count < size; at = rest) {
    const pid_t child = static_cast<pid_t>(strtol(at, &rest, 10));
    if (rest == at) break;
    info.si_pid = 0;
    if (syscall(SYS_waitid, P_PID, child, &info, WEXITED | WNOHANG | WNOWAIT | __WALL, nullptr) == 0 && info.si_pid == child) ret[count++] = child;
  }
  return count;
}

}  // namespace contained
