// Files and directories by name.
#include "acts.hpp"
#include "sys.hpp"

#include <limits.h>
#include <string.h>

namespace contained {

int write_at(int at, const char* path, const char* text) {
  const sys::Fd fd(openat(at, path, O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return errno;
  const size_t length = strlen(text);
  const ssize_t written = write(fd.get(), text, length);
  if (written < 0) return errno;
  return static_cast<size_t>(written) == length ? 0 : EIO;
}

int create_file(const char* path, const char* text) {
  const sys::Fd fd(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return errno;
  const size_t length = strlen(text);
  for (size_t at = 0; at < length;) {
    const ssize_t written = write(fd.get(), text + at, length - at);
    if (written < 0) return errno;
    at += static_cast<size_t>(written);
  }
  return 0;
}

// A working directory outside the root (a link to a leaked fd: CVE-2024-21626) shows as "(unreachable)…" or ENOENT.
int chdir_inside(const char* path) {
  if (chdir(path) < 0) return errno;
  char where[PATH_MAX];
  if (syscall(SYS_getcwd, where, sizeof where) < 0) return errno;
  return where[0] == '/' ? 0 : EXDEV;
}

}  // namespace contained
