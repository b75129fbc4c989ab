// The processes that a launch makes, between clone3 and execve.
#pragma once

#include "../ops/ops.hpp"

namespace contained {

class Container;

// One launch, as its processes see it. Filled in before the clone: nothing after it may allocate.
struct Launch {
  Container* container = nullptr;  // for what the launcher does
  const Header* header = nullptr;
  const Section* program = nullptr;
  State state;
  char* const* argv = nullptr;
  char* const* envp = nullptr;
  uint32_t* times = nullptr;  // nanoseconds per op of host, join, release, child; null: not traced
};

// Where the ops of a list start, counted over all lists of the section.
inline uint32_t list_start(const Section& section, uint32_t list) {
  uint32_t start = 0;
  for (uint32_t i = 0; i < list; ++i) start += section.counts[i];
  return start;
}

// Does one op as the header and the trace want it.
int step(Launch& launch, uint32_t list, uint32_t index, int (*act)(const Op&, Launch&));

// The body of a freshly cloned process: enters namespaces and clones once more, or becomes the command.
[[noreturn]] void run_intermediate(Launch& launch);
[[noreturn]] void run_child(Launch& launch);

// init.cc. In pid 1: forwards signals, reaps, exits as the command did, and never returns. In the command: returns 0.
int become_init(Launch& launch);

// pause.cc. Holds the namespaces it is in until it is killed.
[[noreturn]] void hold_namespaces(Launch& launch);

[[noreturn]] void give_up(const Launch& launch, uint32_t list, uint32_t index, int error);
bool send_note(int channel, const Note& note, int fd = -1);

// launcher.cc. Whether a process that is cloned now has the ledger too.
Ledger::Entry& ledger(uint32_t id);
void share_ledger(bool share);

}  // namespace contained
