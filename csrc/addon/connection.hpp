// Node's side of the launcher: starts it, sends it requests, and hears from it on a thread of its own.
#pragma once

#include "../ops/program.hpp"
#include "packet.hpp"

#include <stdint.h>
#include <stddef.h>
#include <sys/resource.h>
#include <vector>

namespace contained {

// What becomes of a container, as the listener of its environment is told.
struct Event {
  Message message;
  bool lost = false;       // the launcher was killed while it started the container
  int wait_status = -1;    // of the first process, as waitpid(2); -1: unknown
  rusage usage{};          // of that process and the children that it waited for
  std::vector<char> text;
};

// One per Node environment (the main thread, or a worker). Called on the connection's thread; takes the event.
class Listener {
 public:
  virtual void hear(Event* event) = 0;

 protected:
  ~Listener() = default;
};

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
