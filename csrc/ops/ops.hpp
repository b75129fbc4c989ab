// The interpreter of programs: one op, one act. Used by the launcher before a clone, by the contained process between
// clone3 and execve, and by the addon for `sys`. Nothing here allocates, and no op looks at its neighbours.
#pragma once

#include "program.hpp"

#include <sys/types.h>

namespace contained {

constexpr int kMaxGroups = 64;

// What ops hand to later ops, and what the surroundings give them.
struct State {
  const char* base = nullptr;  // what the offsets of strings count from
  int* slots = nullptr;        // kSlots fds, -1 where closed
  int channel = -1;            // to the launcher: `wait` reads it, a failure is written to it
  pid_t target = 0;            // the process that `release` ops act for
  // The user found by the `user` op; an id of -1 in a later op means this one.
  uint32_t uid = 0, gid = 0;
  gid_t groups[kMaxGroups];
  int group_count = 0;

  const char* text(uint32_t at) const { return at ? base + at : nullptr; }
  // The fd of a slot; a negative slot is AT_FDCWD.
  int fd(int64_t slot) const;
  int put(int64_t slot, int fd);
};

// Does one op; returns 0 or an errno. Ops that only some processes can do (exec, init, read …) are handled by those
// and are ENOSYS here.
int apply(const Op& op, State& state);

// `apply`, with the op's forgiven errno counted as success.
inline int perform(const Op& op, State& state) {
  const int error = apply(op, state);
  return error == op.forgiven ? 0 : error;
}

}  // namespace contained
