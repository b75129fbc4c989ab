// Bytes and descriptors on their way to the launcher.
#pragma once

#include "../ops/program.hpp"

#include <stddef.h>
#include <vector>

namespace contained {

// An fd that goes to the launcher; one that is owned is closed here when it has gone.
struct Attached {
  int fd;
  bool owned;
};

void close_owned(std::vector<Attached>& fds);

// One packet, without waiting; 0 or an errno.
int send_packet(int socket, const uint8_t* bytes, size_t size, const std::vector<Attached>& fds);

// A request that is too large for a packet, as a small one that carries a memfd; 0 or an errno.
int move_to_memfd(const uint8_t* request, size_t size, Header* header, std::vector<Attached>* fds);

}  // namespace contained
