// A process that holds namespaces for others and does nothing else: it stays in this code, with no descriptor and nothing of
// the host's to see. As pid 1 of a pid namespace it reaps whoever is orphaned there; its end is the end of them all.
#include "child.hpp"
#include "../ops/sys.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>

namespace contained {

void hold_namespaces(Launch& launch) {
  const int channel = launch.state.channel;
  sys::close_range(0, static_cast<unsigned>(channel - 1), 0);
  sys::close_range(static_cast<unsigned>(channel + 1), ~0U, 0);
  // Without root Node may open the namespaces of a dumpable process only (a change of ids cleared it): ptrace(2). It says
  // by SIGUSR1 when it has them, and sees by the name that nobody can look into this process any more: only then others come.
  if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) give_up(launch, kChild, launch.program->counts[kChild] - 1, errno);
  send_note(channel, {Note::kStarted, 0, 0, 0});
  close(channel);

  sigset_t all;
  sigfillset(&all);
  for (;;) {
    siginfo_t info;
    // Blocked since the launcher started. What is blocked reaches even pid 1, from whoever is in there with its uid; to ask it
    // to end is for those outside, whose pid cannot be told inside and is 0: pid_namespaces(7).
    const int signal = sigwaitinfo(&all, &info);
    if (signal == SIGUSR1 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0) prctl(PR_SET_NAME, "contained-pause", 0, 0, 0);
    if (signal == SIGTERM && (getpid() != 1 || info.si_pid == 0)) _exit(0);
    while (signal == SIGCHLD && waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

}  // namespace contained
