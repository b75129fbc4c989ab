// Node's side of the launcher: starts it, sends it requests, and hears from it on a thread of its own.
#pragma once

#include "listener.hpp"
#include "packet.hpp"

#include <stddef.h>
#include <stdint.h>
#include <vector>

namespace contained {

// All may be called on any thread and never block.
void spawn(Listener* listener, const uint8_t* request, size_t size, std::vector<Attached> fds);
// Tells when a container of another launcher's ends: `header` has its pid, start time, flags and namespaces.
void attend(Listener* listener, const Header& header);
void signal(uint32_t id, int number);
// The listener is going away: its containers are killed and nobody is told.
void forget(Listener* listener);
// Starts the launcher, if there is none yet.
void connect();
// The launcher's pid, 0 while there is none. For tests and for `probe`.
int launcher_pid();

}  // namespace contained
