// Processes that have been killed, or have ended, and yet do not go: what holds them up, and how they are freed.
#pragma once

#include <sys/types.h>

namespace contained {

// A process that traces can stop another on its way out (PTRACE_O_TRACEEXIT: SIGKILL that comes after a fatal signal is
// dropped, kernel/signal.c, prepare_signal), is told of its end before the parent is, and may never take notice: ptrace(2).
// Tracers that are in the same container are killed. Whether there was a tracer.
bool free_held(pid_t pid);
// A thread that has called PTRACE_TRACEME is told to us, its parent: its process does not end before it is reaped.
void reap_threads(pid_t pid);

// SIGKILL for all who are in the namespace, or in one below it; returns how many there were that had not ended. `kind`: `pid`
// or `user`, the two that a process cannot leave; `inode`: what tells namespaces apart, namespaces(7). Never our own, nor 0.
int end_namespace(const char* kind, ino_t inode);
// 0 when there is no such process any more, or it may not be looked at.
ino_t namespace_of(pid_t pid, const char* kind);

// Whether any child or tracee of this thread has ended and is not reaped.
bool has_zombie();
// Children of this thread that have ended. Who has cloned with CLONE_PARENT has made us a child that we do not know.
void for_each_zombie(void (*act)(pid_t pid, void* data), void* data);

}  // namespace contained
