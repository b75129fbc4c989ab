// What /proc tells of a process.
#pragma once

#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

namespace contained {

// When a process began, in ticks since boot: proc_pid_stat(5), field 22. 0 when there is none.
uint64_t start_time(pid_t pid);
// Whether it has called execve since it was cloned, with success. True where that cannot be seen any more.
bool has_executed(pid_t pid);
// Whether it has begun to end, or is stopped by a tracer, maybe in that.
bool is_on_its_way_out(pid_t pid);
// What waitid(2) has told, as waitpid(2) has it.
int wait_status(const siginfo_t& info);
// How a process that is somebody else's child has ended, as waitpid(2) would tell it, and the time that it used; -1 when that
// cannot be known.
int ending_of(pid_t pid, int pidfd, rusage* usage);

}  // namespace contained
