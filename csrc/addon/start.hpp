#pragma once

#include "../ops/program.hpp"
#include "../ops/sys.hpp"

#include <sys/types.h>

namespace contained {

struct Started {
  pid_t pid = 0;
  sys::Fd socket;
  Ledger* ledger = nullptr;
  int error = 0;
};

// Starts a launcher. Must be called on a thread that lives as long as the process: PR_SET_PDEATHSIG of the containers,
// which are children of that thread, follows the thread and not the process (prctl(2)).
Started start_launcher();

}  // namespace contained
