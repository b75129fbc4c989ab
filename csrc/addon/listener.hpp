// Who is told what becomes of a container.
#pragma once

#include "../ops/program.hpp"
#include "../ops/sys.hpp"

#include <sys/resource.h>
#include <vector>

namespace contained {

// How a process has ended, as waitid(2) tells.
struct Ending {
  int status = -1;         // as waitpid(2) has it; -1: unknown
  rusage usage{};          // of the process and the children that it waited for
};

// What becomes of a container, as the listener of its environment is told.
struct Event {
  Message message;
  class Listener* listener = nullptr;  // who hears it
  bool lost = false;       // the launcher was killed while it started the container
  Ending ending;           // of the first process
  std::vector<char> text;
  sys::Fd terminal;        // the master of its terminal, with kReady
};

// One per Node environment (the main thread, or a worker). Called on the connection's thread; takes the event.
class Listener {
 public:
  virtual void hear(Event* event) = 0;

 protected:
  ~Listener() = default;
};

}  // namespace contained
