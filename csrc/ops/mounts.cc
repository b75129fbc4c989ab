#include "acts.hpp"
#include "sys.hpp"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace contained {

using sys::Fd;
using sys::check;
using sys::open_in_root;

// Creates what is missing of `path`, component by component, each parent held by fd: an image or another container
// that exchanges a directory for a symlink meanwhile cannot lead us out of the root (CVE-2021-30465, CVE-2024-45310).
int ensure(int root, const char* path, int kind, int like) {
  if (const Fd found(open_in_root(root, path, O_PATH)); found) return 0;
  if (errno != ENOENT) return errno;
  bool directory = kind == kDirectory;
  if (kind == kLike) {
    struct stat found;
    if (fstat(like, &found) < 0) return errno;
    directory = S_ISDIR(found.st_mode);
  }

  char prefix[PATH_MAX];
  const size_t length = strlen(path);
  if (length >= sizeof prefix) return ENAMETOOLONG;
  Fd parent(open_in_root(root, "/", O_PATH | O_DIRECTORY));
  for (size_t start = 0; start < length;) {
    while (path[start] == '/') ++start;
    if (start >= length) break;
    size_t end = start;
    while (end < length && path[end] != '/') ++end;
    size_t next = end;
    while (next < length && path[next] == '/') ++next;
    const bool last = next >= length;
    memcpy(prefix, path, end);
    prefix[end] = 0;

    Fd here(open_in_root(root, prefix, O_PATH));
    if (!here) {
      if (errno != ENOENT) return errno;
      const char* name = prefix + start;
      if (last && !directory) {
        const Fd made(openat(parent.get(), name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0644));
        return made ? 0 : errno;
      }
      if (mkdirat(parent.get(), name, 0755) < 0) return errno;
      here.reset(open_in_root(parent.get(), name, O_PATH | O_NOFOLLOW | O_DIRECTORY));
      if (!here) return errno;
    }
    parent = static_cast<Fd&&>(here);
    start = next;
  }
  return 0;
}

// `options`: `count` pairs of strings, key and value; an empty value is a flag.
static int configure(int fs, const char* options, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const char* key = options;
    const char* value = key + strlen(key) + 1;
    options = value + strlen(value) + 1;
    const int done = *value ? sys::fsconfig(fs, FSCONFIG_SET_STRING, key, value)
                            : sys::fsconfig(fs, FSCONFIG_SET_FLAG, key, nullptr);
    if (done < 0) return -1;
  }
  return 0;
}

static int create(int fs, unsigned attributes) {
  if (sys::fsconfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr) < 0) return -1;
  return sys::fsmount(fs, attributes);
}

int make_fsmount(const char* type, const char* options, int64_t count, unsigned attributes) {
  const Fd fs(sys::fsopen(type));
  if (!fs || configure(fs.get(), options, count) < 0) return -1;
  return create(fs.get(), attributes);
}

// mount(2) takes a page of options at once, fsconfig(2) only 255 characters of each. What it mounts on top of the root is
// found as `/..`, and taken off again.
static int overlay_by_mount(const Op& op, const State& state, int64_t first, int count, bool writable, const char* flag) {
  static char options[4096];  // not on a stack that may be charged to the container
  size_t used = static_cast<size_t>(snprintf(options, sizeof options, "lowerdir="));
  const auto put = [&](const char* format, int fd) {
    if (used < sizeof options) used += static_cast<size_t>(snprintf(options + used, sizeof options - used, format, fd));
  };
  for (int i = 0; i < count; ++i) put(i ? ":%d" : "%d", state.fd(first + i));
  if (writable) put(",upperdir=%d", state.fd(first + count));
  if (writable) put(",workdir=%d", state.fd(first + count + 1));
  if (flag && used < sizeof options) used += static_cast<size_t>(snprintf(options + used, sizeof options - used, ",%s", flag));
  if (used >= sizeof options) return errno = E2BIG, -1;
  if (sys::mount("overlay", "/", "overlay", 0, options) < 0) return -1;
  Fd ret(sys::open_tree(AT_FDCWD, "/..", OPEN_TREE_CLONE));
  const int error = errno;
  if (sys::umount("/..", 2 /* MNT_DETACH */) < 0) return -1;
  if (!ret) return errno = error, -1;
  mount_attr attributes{};
  attributes.attr_set = static_cast<uint64_t>(op.numbers[1]);
  if (sys::mount_setattr(ret.get(), "", AT_EMPTY_PATH, &attributes) < 0) return -1;
  return ret.release();
}

// Layers are named by fd, relative to /proc/self/fd: no path is looked up twice, and no `:` or `,` in a directory's
// name needs escaping. numbers: result, attributes, first layer's slot, layers | 1 << 16 when upper and work follow.
int make_overlay(const Op& op, const State& state) {
  const int64_t first = op.numbers[2];
  const int count = static_cast<int>(op.numbers[3] & 0xffff);
  const bool writable = op.numbers[3] >> 16;
  const Fd fs(sys::fsopen("overlay"));
  if (!fs || chdir("/proc/self/fd") < 0) return -1;

  // fsconfig(2) takes strings of up to 255 characters; `lowerdir+`, one layer at a time, is there since Linux 6.7.
  char layers[256];
  size_t used = 0;
  for (int i = 0; i < count && used < sizeof layers; ++i)
    used += static_cast<size_t>(
        snprintf(layers + used, sizeof layers - used, i ? ":%d" : "%d", state.fd(first + i)));
  const char* flag = state.text(op.strings[0]);
  char name[16];
  if (used < sizeof layers) {
    if (sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, "lowerdir", layers) < 0) return -1;
  } else {
    for (int i = 0; i < count; ++i) {
      snprintf(name, sizeof name, "%d", state.fd(first + i));
      if (sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, "lowerdir+", name) == 0) continue;
      if (errno != EINVAL) return -1;
      return overlay_by_mount(op, state, first, count, writable, flag);
    }
  }
  const char* const keys[] = {"upperdir", "workdir"};
  for (int i = 0; i < (writable ? 2 : 0); ++i) {
    snprintf(name, sizeof name, "%d", state.fd(first + count + i));
    if (sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, keys[i], name) < 0) return -1;
  }
  if (flag && sys::fsconfig(fs.get(), FSCONFIG_SET_FLAG, flag, nullptr) < 0) return -1;
  const int made = create(fs.get(), static_cast<unsigned>(op.numbers[1]));
  // Before Linux 6.5 any key is taken here and refused only now.
  if (made < 0 && errno == EINVAL && used >= sizeof layers) return overlay_by_mount(op, state, first, count, writable, flag);
  return made;
}

// Without a path: on top of the current root, where pivot() finds it.
int move_mount_to(int mount, int root, const char* path) {
  const Fd target(path ? open_in_root(root, path, O_PATH) : open("/", O_PATH | O_CLOEXEC));
  if (!target) return errno;
  return check(sys::move_mount(mount, target.get()));
}

// Covers a file with `file` and a directory with `directory`, whichever `path` is.
int mask(int root, const char* path, int directory, int file) {
  const Fd target(open_in_root(root, path, O_PATH));
  if (!target) return errno;
  struct stat found;
  if (fstat(target.get(), &found) < 0) return errno;
  const int cover = S_ISDIR(found.st_mode) ? directory : file;
  if (cover == file) {
    // An image that makes /dev/null something else would have it mounted here: CVE-2025-31133.
    struct stat null;
    if (fstat(file, &null) < 0) return errno;
    if (!S_ISCHR(null.st_mode) || null.st_rdev != makedev(1, 3)) return ENODEV;
  }
  const Fd copy(sys::open_tree(cover, "", OPEN_TREE_CLONE | AT_EMPTY_PATH));
  if (!copy) return errno;
  return check(sys::move_mount(copy.get(), target.get()));
}

int make_readonly(int root, const char* path) {
  const Fd target(open_in_root(root, path, O_PATH));
  if (!target) return errno;
  const Fd copy(sys::open_tree(target.get(), "", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE));
  if (!copy) return errno;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  if (sys::mount_setattr(copy.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes) < 0) return errno;
  return check(sys::move_mount(copy.get(), target.get()));
}

// pivot_root(2), "pivot_root(".", ".")": old and new root are the same place, so no directory for the old one is needed.
// The old root then lies on top of the new one, and on top of it the `stacked` mounts that were made on it.
int pivot(int root, int64_t stacked) {
  if (fchdir(root) < 0 || sys::pivot_root(".", ".") < 0) return errno;
  for (; stacked >= 0; --stacked)
    if (sys::umount(".", 2 /* MNT_DETACH */) < 0) return errno;
  return check(chdir("/"));
}

}  // namespace contained
