// What the launcher does first: it leaves what it has inherited from Node, and its children would from it.
#include "container.hpp"
#include "reports.hpp"

#include <linux/keyctl.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

namespace contained {

namespace {

// Node's session keyring would let a container read and change its keys: session-keyring(7). This one is
// empty, and closed even to who has it; who wants keys inside joins another.
int leave_keyring() {
  const long keyring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  if (keyring >= 0) return sys::check(syscall(SYS_keyctl, KEYCTL_SETPERM, keyring, 0));
  return errno == ENOSYS || errno == EPERM ? 0 : errno;  // no keys, or forbidden by a filter that containers have too
}

// Raised priorities are Node's alone; a lowered one goes on.
void leave_priorities() {
  // A task of this policy does not preempt the one that wakes it: sched(7). Else, with all processors busy, sending a
  // request would cost Node's main thread what the launcher does with it. Children go back to normal: execute().
  const sched_param none{};
  if (sched_getscheduler(0) != SCHED_IDLE) sched_setscheduler(0, SCHED_BATCH, &none);
  if (getpriority(PRIO_PROCESS, 0) < 0) setpriority(PRIO_PROCESS, 0, 0);
  personality(static_cast<unsigned long>(personality(~0U)) & PER_MASK);  // without ADDR_NO_RANDOMIZE and its like
}

}  // namespace

int settle() {
  const uint64_t all = ~uint64_t{0};
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof all);
  for (int signal = 1; signal <= 64; ++signal) {
    struct {
      void* handler;
      unsigned long flags;
      void* restorer;
      uint64_t mask;
    } const reset{};
    syscall(SYS_rt_sigaction, signal, &reset, nullptr, sizeof(uint64_t));
  }
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  sys::close_range(kShared + 1, ~0U, 0);
  fcntl(kSocket, F_SETFD, FD_CLOEXEC);
  fcntl(kShared, F_SETFD, FD_CLOEXEC);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) {
    if (null < 0) close(fd);
    else dup3(null, fd, O_CLOEXEC);
  }
  if (null > 2) close(null);
  leave_priorities();
  (void)!chdir("/");
  setsid();
  prctl(PR_SET_NAME, "contained-setup", 0, 0, 0);  // and of our children up to execve
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  return leave_keyring();
}

}  // namespace contained
