#include "packet.hpp"

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
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kAttached)];
  iovec part{const_cast<uint8_t*>(bytes), size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    int* const numbers = reinterpret_cast<int*>(CMSG_DATA(header));
    for (size_t i = 0; i < fds.size(); ++i) numbers[i] = fds[i].fd;
  }
  return sys::check(sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

bool move_to_memfd(const uint8_t* request, size_t size, Header* header, std::vector<Attached>* fds) {
  sys::Fd memfd(memfd_create("spawn-contained request", MFD_CLOEXEC));
  if (!memfd || write(memfd.get(), request, size) != static_cast<ssize_t>(size)) return false;
  memcpy(header, request, sizeof *header);
  header->flags |= kMemfd;
  fds->push_back({memfd.release(), true});
  return true;
}

}  // namespace contained
