// Processes that have been killed, or have ended, and yet do not go: what holds them up, and how they are freed.
#pragma once

#include <sys/types.h>

namespace contained {

// A process that traces can stop another on its way out (PTRACE_O_TRACEEXIT: SIGKILL that comes after a fatal signal is
// dropped, kernel/signal.c, prepare_signal), is told of its end before the parent is, and may never take notice: ptrace(2).
// A thread of a process that has called PTRACE_TRACEME is told to us, its parent, and nobody reaps it. Tracers that are in a
// container are killed, such threads reaped.
void free_held(pid_t pid);

// SIGKILL for all who are in the namespace, or in one below it; returns how many there were that had not ended. `kind`: `pid`
// or `user`, the two that a process cannot leave; `inode`: what tells namespaces apart, namespaces(7).
int end_namespace(const char* kind, ino_t inode);
// 0 when there is no such process any more.
ino_t namespace_of(pid_t pid, const char* kind);

// Children of this thread that have ended. Who has cloned with CLONE_PARENT has made us a child that we do not know.
int zombie_children(pid_t* ret, int size);

}  // namespace contained
