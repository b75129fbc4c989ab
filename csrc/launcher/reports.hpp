// What Node is told, which may be stopped, or too busy to listen: nobody else must wait for that.
#pragma once

#include "../ops/program.hpp"

namespace contained {

constexpr int kSocket = 3;  // where the addon puts our end of the socket

// At once, or when there is room. `size` bytes of text follow the message. The fds have copies of their own from then on; two
// at most.
void tell_node(const Message& message, const char* text, uint32_t size, const int* fds, int count);
// Sends what was kept. Returns after how many milliseconds that is to be tried again; -1: when epoll tells of room.
int flush_reports();
// Nobody listens any more.
void drop_reports();

// launcher.cc: whether epoll is to tell when there is room in the socket.
void watch_room(bool watch);

}  // namespace contained
