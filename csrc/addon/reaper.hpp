// Containers are children of the connection's thread, which reaps them, and waits for none of them: a tracer is told of a
// process's end before its parent is, and need not take notice (ptrace(2)). Only that thread calls these.
#pragma once

#include "listener.hpp"

#include <sys/types.h>
#include <vector>

namespace contained {

// Of a process that has ended, and is traced by nobody.
Ending reap(pid_t pid);
// Says conclude(event) with how it has ended, now or from reap_rest(). Without an event nobody asks.
void reap(pid_t pid, Event* event);
// Those who could not be reaped; returns after how many milliseconds to call it again, -1: there is none.
int reap_rest();
// Children that have ended, and do not wait here.
std::vector<pid_t> zombies();
// Nobody's child. Not at once: that it has ended may be on its way from the launcher, with somebody who asks.
void reap_later(pid_t pid);

// records.cc
void conclude(Event* event);

}  // namespace contained
