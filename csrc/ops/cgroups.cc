#include "acts.hpp"
#include "sys.hpp"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

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

int kill_cgroup(const char* path, bool unified) {
  if (!unified) return kill_members(path);
  char name[PATH_MAX];
  snprintf(name, sizeof name, "%s/cgroup.kill", path);
  return write_at(AT_FDCWD, name, "1");
}

}  // namespace contained
