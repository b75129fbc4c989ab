#include "acts.hpp"
#include "sys.hpp"

#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace contained {

namespace {

// The lines of a file that the container's owner wrote: never a fifo or a device, never more than a mebibyte, and
// no name service switch, which would load the container's libraries (CVE-2019-14271).
class Lines {
 public:
  explicit Lines(const char* path) : fd_(sys::openat2(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
                                                      RESOLVE_NO_MAGICLINKS)) {
    struct stat found;
    if (fd_ && (fstat(fd_.get(), &found) < 0 || !S_ISREG(found.st_mode) || found.st_size > 1 << 20)) fd_.reset();
  }

  // The next line without its newline, or null. A line that is longer than the buffer is left out.
  char* next() {
    size_t used = 0;
    for (bool whole = true;;) {
      if (at_ == end_) {
        const ssize_t n = fd_ ? read(fd_.get(), block_, sizeof block_) : 0;
        if (n <= 0) return nullptr;
        at_ = 0;
        end_ = static_cast<size_t>(n);
      }
      const char c = block_[at_++];
      if (c != '\n') {
        if (used + 1 < sizeof line_) line_[used++] = c;
        else whole = false;
        continue;
      }
      line_[used] = 0;
      if (whole) return line_;
      used = 0;
      whole = true;
    }
  }

 private:
  sys::Fd fd_;
  char block_[4096], line_[4096];
  size_t at_ = 0, end_ = 0;
};

// Field `index` of a line of `name:x:id:…`, cut out in place; the line is not usable afterwards.
char* field(char* line, int index) {
  for (; index > 0; --index) {
    line = strchr(line, ':');
    if (!line) return nullptr;
    ++line;
  }
  if (char* end = strchr(line, ':')) *end = 0;
  return line;
}

bool number(const char* text, uint32_t* ret) {
  if (!text || *text < '0' || *text > '9') return false;
  char* end;
  const unsigned long value = strtoul(text, &end, 10);
  if (*end || value > 0xfffffffeUL) return false;
  *ret = static_cast<uint32_t>(value);
  return true;
}

bool starts_with_name(const char* line, const char* name) {
  const size_t length = strlen(name);
  return strncmp(line, name, length) == 0 && line[length] == ':';
}

bool is_member(const char* members, const char* user) {
  const size_t length = strlen(user);
  while (members) {
    if (strncmp(members, user, length) == 0 && (members[length] == ',' || !members[length])) return true;
    members = strchr(members, ',');
    if (members) ++members;
  }
  return false;
}

}  // namespace

// passwd(5), group(5) of the root we are in. Numeric means numeric and is not looked up here (CVE-2016-3697).
int find_user(const char* user, const char* group, State& state) {
  bool found = false;
  for (Lines passwd("/etc/passwd"); char* line = passwd.next();) {
    if (!starts_with_name(line, user)) continue;
    char copy[4096];
    strcpy(copy, line);
    found = number(field(copy, 2), &state.uid) && number(field(line, 3), &state.gid);
    break;
  }
  if (!found) return ENOENT;

  bool group_found = !group;
  state.group_count = 0;
  for (Lines groups("/etc/group"); char* line = groups.next();) {
    char copy[4096];
    strcpy(copy, line);
    uint32_t gid;
    if (!number(field(copy, 2), &gid)) continue;
    if (group && starts_with_name(line, group)) {
      state.gid = gid;
      group_found = true;
    }
    if (is_member(field(line, 3), user) && state.group_count < kMaxGroups) state.groups[state.group_count++] = gid;
  }
  return group_found ? 0 : ENOENT;
}

// `list`: "1,2,3", or null for the groups of the user that was looked up.
int set_groups(const char* list, const State& state) {
  gid_t groups[kMaxGroups];
  int count = 0;
  if (list) {
    for (const char* at = list; *at && count < kMaxGroups;) {
      char* end;
      groups[count++] = static_cast<gid_t>(strtoul(at, &end, 10));
      at = *end ? end + 1 : end;
    }
  } else {
    count = state.group_count;
    memcpy(groups, state.groups, sizeof groups);
  }
  return sys::check(syscall(SYS_setgroups, count, groups));
}

// The kernel may know more capabilities than its headers did; it says where they end (EINVAL).
int drop_bounding_set(uint64_t keep) {
  for (int capability = 0; capability < 64; ++capability) {
    if (keep >> capability & 1) continue;
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return errno == EINVAL && capability > CAP_AUDIT_READ ? 0 : errno;
  }
  return 0;
}

int set_capabilities(uint64_t permitted, uint64_t inheritable) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  for (int i = 0; i < 2; ++i) {
    data[i].permitted = data[i].effective = static_cast<uint32_t>(permitted >> (32 * i));
    data[i].inheritable = static_cast<uint32_t>(inheritable >> (32 * i));
  }
  return sys::check(syscall(SYS_capset, &header, data));
}

int raise_ambient(uint64_t capabilities) {
  for (int capability = 0; capability < 64; ++capability)
    if (capabilities >> capability & 1)
      if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0) return errno;
  return 0;
}

// newuidmap(1): `newuidmap PID INSIDE OUTSIDE COUNT …`. It is setuid, so it can write maps of /etc/subuid's ranges.
int run_newidmap(const char* tool, const char* map, pid_t target) {
  char words[4096], pid[16];
  snprintf(pid, sizeof pid, "%d", target);
  if (strlen(map) >= sizeof words) return E2BIG;
  strcpy(words, map);
  char* argv[1024] = {const_cast<char*>(tool), pid};
  int count = 2;
  for (char* word = strtok(words, " \n"); word && count < 1023; word = strtok(nullptr, " \n")) argv[count++] = word;

  const pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) {
    char* const no_environment[] = {nullptr};
    execve(tool, argv, no_environment);
    _exit(errno == ENOENT ? 127 : 126);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return errno;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return ENOENT;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EPERM;
}

}  // namespace contained
