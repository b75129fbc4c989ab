#include "packet.hpp"

#include "../ops/rights.hpp"
#include "../ops/sys.hpp"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

namespace contained {

void close_owned(std::vector<Attached>& fds) {
  for (const Attached& fd : fds)
    if (fd.owned) close(fd.fd);
  fds.clear();
}

int send_packet(int socket, const uint8_t* bytes, size_t size, const std::vector<Attached>& fds) {
  int numbers[kAttached];
  for (size_t i = 0; i < fds.size(); ++i) numbers[i] = fds[i].fd;
  iovec part{const_cast<uint8_t*>(bytes), size};
  return sys::check(sys::send_rights(socket, &part, 1, numbers, fds.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
}

int move_to_memfd(const uint8_t* request, size_t size, Header* header, std::vector<Attached>* fds) {
  sys::Fd memfd(memfd_create("spawn-contained request", MFD_CLOEXEC));
  if (!memfd) return errno;
  const ssize_t written = write(memfd.get(), request, size);
  if (written != static_cast<ssize_t>(size)) return written < 0 ? errno : ENOSPC;
  memcpy(header, request, sizeof *header);
  header->flags |= kMemfd;
  fds->push_back({memfd.release(), true});
  return 0;
}

}  // namespace contained
