// Messages with descriptors: unix(7), SCM_RIGHTS. Allocates nothing: children use it before execve.
#pragma once

#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

namespace contained::sys {

constexpr size_t kMostRights = 253;  // SCM_MAX_FD

// As sendmsg(2).
inline ssize_t send_rights(int socket, iovec* parts, size_t part_count, const int* fds, size_t count, int flags) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostRights)];
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = part_count;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
  }
  return sendmsg(socket, &message, flags);
}

struct Received {
  ssize_t size;  // as of recvmsg(2)
  size_t count;  // of descriptors, which are close-on-exec
  bool truncated;  // there was no room for all of them
};

// `fds` has room for `most` descriptors. CMSG_LEN and not CMSG_SPACE: its padding would have room for one more, which
// nobody would own.
inline Received receive_rights(int socket, void* bytes, size_t size, int* fds, size_t most, int flags) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMostRights)];
  iovec part{bytes, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = most > 0 ? control : nullptr;
  message.msg_controllen = most > 0 ? CMSG_LEN(sizeof(int) * most) : 0;
  Received ret{recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC), 0, false};
  if (ret.size < 0) return ret;
  ret.truncated = message.msg_flags & MSG_CTRUNC;
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message)) {
    ret.count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(header), ret.count * sizeof(int));
  }
  return ret;
}

}  // namespace contained::sys
