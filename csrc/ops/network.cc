#include "acts.hpp"
#include "sys.hpp"

#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace contained {

// netdevice(7). A new network namespace has `lo`, but down.
int loopback_up() {
  const sys::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno;
  ifreq request{};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  return sys::check(ioctl(socket.get(), SIOCSIFFLAGS, &request));
}

}  // namespace contained
