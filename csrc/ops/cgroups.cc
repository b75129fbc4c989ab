#include "acts.hpp"
#include "sys.hpp"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace contained {

// cgroup v1 has no cgroup.kill: signal each member until none is left to signal. The caller's rmdir tells whether
// somebody was forked meanwhile, and comes back here.
static int kill_members(const char* path) {
  char name[PATH_MAX], text[16384];
  snprintf(name, sizeof name, "%s/cgroup.procs", path);
  if (sys::read_file(AT_FDCWD, name, text, sizeof text) < 0) return errno;
  for (char *at = text, *end; *at; at = end + 1) {
    const long pid = strtol(at, &end, 10);
    if (end == at) break;
    if (pid > 0) kill(static_cast<pid_t>(pid), SIGKILL);
    if (!*end) break;
  }
  return 0;
}

// The first group in a group.
static bool first_child(int group, char name[NAME_MAX + 1]) {
  DIR* directory = fdopendir(openat(group, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return false;
  bool ret = false;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    strcpy(name, entry->d_name);
    ret = true;
    break;
  }
  closedir(directory);
  return ret;
}

// A container may have made any number of groups in its own, at any depth: no recursion, no paths, and no more at once
// than some milliseconds of work. EBUSY: there is more to do, or a member is still dying.
static int remove_children(const char* path) {
  constexpr int kAtOnce = 1000;
  sys::Fd group(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group) return errno;
  char name[NAME_MAX + 1];
  bool returned = false;
  for (int depth = 0, steps = 0; steps < kAtOnce; ++steps) {
    if (!first_child(group.get(), name)) {
      if (depth == 0) return 0;
      group.reset(openat(group.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      --depth;
      returned = true;
    } else if (unlinkat(group.get(), name, AT_REMOVEDIR) == 0) {
      returned = false;
    } else if (errno != EBUSY || returned) {
      return errno;
    } else {
      group.reset(openat(group.get(), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      ++depth;
    }
    if (!group) return errno;
  }
  return EBUSY;
}

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
