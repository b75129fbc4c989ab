#include "acts.hpp"
#include "sys.hpp"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

namespace contained {

// cgroup v1 has no cgroup.kill: signal each member until none is left to signal. The caller's rmdir tells whether
// somebody was forked meanwhile, and comes back here.
static int kill_members(const char* path) {
  char name[PATH_MAX], text[16384];
  snprintf(name, sizeof name, "%s/cgroup.procs", path);
  if (sys::read_file(AT_FDCWD, name, text, sizeof text) < 0) return errno;
  for (char *at = text, *end; *at; at = end + 1) {
    const long pid = strtol(at, &end, 10);
    // A list that is longer than the text ends in a part of a number, and that is somebody else's.
    if (end == at || *end != '\n') break;
    if (pid > 0) kill(static_cast<pid_t>(pid), SIGKILL);
  }
  return 0;
}

// A walk through the groups below one, whatever a container has made there: names as long as a path, any depth, and more
// coming while it goes. Nothing is copied, a few milliseconds are all it takes at once, and what is left is EBUSY.
namespace {

constexpr int kDeepest = 64;  // more than `delegate` allows
constexpr uint64_t kAtOnceNs = 5'000'000;

uint64_t now_ns() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

class Descent {
 public:
  explicit Descent(int group) { enter(group); }
  ~Descent() {
    while (depth_ > 0) leave();
  }
  bool enter(int group) {
    DIR* directory = group < 0 || depth_ == kDeepest ? nullptr : fdopendir(group);
    if (!directory && group >= 0) close(group);
    if (directory) levels_[depth_++] = directory;
    return directory;
  }
  void leave() { closedir(levels_[--depth_]); }
  DIR* here() const { return levels_[depth_ - 1]; }
  int depth() const { return depth_; }

 private:
  DIR* levels_[kDeepest];
  int depth_ = 0;
};

bool is_group(const dirent& entry) {
  return entry.d_type == DT_DIR && strcmp(entry.d_name, ".") != 0 && strcmp(entry.d_name, "..") != 0;
}

int remove_children(const char* path) {
  Descent descent(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descent.depth() == 0) return errno;
  long places[kDeepest];
  int error = 0;
  bool emptied = false;  // the entry that comes is the group we have come out of
  for (const uint64_t end = now_ns() + kAtOnceNs; descent.depth() > 0;) {
    if (now_ns() > end) return EBUSY;
    places[descent.depth() - 1] = telldir(descent.here());
    const dirent* entry = readdir(descent.here());
    if (!entry) {
      descent.leave();
      if (descent.depth() > 0) seekdir(descent.here(), places[descent.depth() - 1]);
      emptied = true;
      continue;
    }
    if (!is_group(*entry)) continue;
    const int group = dirfd(descent.here());
    if (unlinkat(group, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
      const bool again = emptied || errno != EBUSY || !descent.enter(openat(group, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (again) error = EBUSY;
    }
    emptied = false;
  }
  return error;
}

}  // namespace

int remove_cgroup(const char* path, bool tree) {
  int error = sys::check(unlinkat(AT_FDCWD, path, AT_REMOVEDIR));
  if (error != EBUSY || !tree) return error;
  error = remove_children(path);
  return error ? error : sys::check(unlinkat(AT_FDCWD, path, AT_REMOVEDIR));
}

int kill_cgroup(const char* path, bool unified) {
  if (!unified) return kill_members(path);
  char name[PATH_MAX];
  snprintf(name, sizeof name, "%s/cgroup.kill", path);
  return write_at(AT_FDCWD, name, "1");
}

}  // namespace contained
