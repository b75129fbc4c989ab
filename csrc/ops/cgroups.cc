#include "acts.hpp"
#include "sys.hpp"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace contained {

static int kill_members(int group) {
  char text[16384];
  if (sys::read_file(group, "cgroup.procs", text, sizeof text) < 0) return errno;
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
  for (const uint64_t end = sys::nanoseconds() + kAtOnceNs; descent.depth() > 0;) {
    if (sys::nanoseconds() > end) return EBUSY;
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

// cgroup v1 has no cgroup.kill: signal each member until none is left to signal. The caller's rmdir tells whether
// somebody was forked meanwhile, and comes back here.
int kill_tree(const char* path) {
  Descent descent(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descent.depth() == 0) return errno;
  const int error = kill_members(dirfd(descent.here()));
  for (const uint64_t end = sys::nanoseconds() + kAtOnceNs; descent.depth() > 0 && sys::nanoseconds() < end;) {
    const dirent* entry = readdir(descent.here());
    if (!entry) descent.leave();
    else if (is_group(*entry) && descent.enter(openat(dirfd(descent.here()), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)))
      (void)kill_members(dirfd(descent.here()));
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

int refuse_line(const char* path, const char* line) {
  char text[4096];
  if (sys::read_file(AT_FDCWD, path, text, sizeof text) < 0) return errno;
  const size_t length = strlen(line);
  for (const char* at = text; *at; at += strcspn(at, "\n"), at += *at == '\n')
    if (strncmp(at, line, length) == 0 && (at[length] == '\n' || !at[length])) return EBUSY;
  return 0;
}

// Until nobody is left in `from`: who is moved may have forked meanwhile. A fork bomb is not waited for.
int move_members(const char* from, const char* to) {
  char source[PATH_MAX], target[PATH_MAX], text[16384];
  snprintf(source, sizeof source, "%s/cgroup.procs", from);
  snprintf(target, sizeof target, "%s/cgroup.procs", to);
  for (int rounds = 0; rounds < 1000; ++rounds) {
    if (sys::read_file(AT_FDCWD, source, text, sizeof text) < 0) return errno;
    if (!*text) return 0;
    for (char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
      *end = 0;
      if (const int error = write_at(AT_FDCWD, target, at); error && error != ESRCH) return error;
    }
  }
  return EBUSY;
}

int kill_cgroup(const char* path, bool unified) {
  if (!unified) return kill_tree(path);
  char name[PATH_MAX];
  snprintf(name, sizeof name, "%s/cgroup.kill", path);
  return write_at(AT_FDCWD, name, "1");
}

}  // namespace contained
