#include "acts.hpp"
#include "sys.hpp"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace contained {

static bool is_multiplexer(const sys::Fd& fd) {
  struct stat found;
  if (fstat(fd.get(), &found) < 0) return false;
  return (S_ISCHR(found.st_mode) && found.st_rdev == makedev(5, 2)) || (errno = ENODEV, false);
}

// pty(7), ioctl_tty(2). The slave is had from the master and never by a path, which an image could lead elsewhere
// (CVE-2025-52565). O_NONBLOCK is the master's alone: the slave has an open file description of its own.
int open_terminal(const char* path, uint16_t columns, uint16_t rows, int* slave) {
  // To open a device may already be to do something: one that is another is only looked at.
  const sys::Fd place(sys::open_in_root(AT_FDCWD, path, O_PATH));
  if (!place || !is_multiplexer(place)) return -1;
  sys::Fd master(sys::open_in_root(AT_FDCWD, path, O_RDWR | O_NOCTTY | O_NONBLOCK));
  if (!master || !is_multiplexer(master)) return -1;
  const int unlocked = 0;
  const winsize size{rows, columns, 0, 0};
  if (ioctl(master.get(), TIOCSPTLCK, &unlocked) < 0 || ioctl(master.get(), TIOCSWINSZ, &size) < 0) return -1;
  *slave = ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return *slave < 0 ? -1 : master.release();
}

}  // namespace contained
