// Pid 1 of a container with `init: true`: a process that stays in this code. It forwards signals to the command,
// reaps whatever is orphaned into it, and ends as the command ended. Without it the command is pid 1 itself, which the
// kernel protects from every signal it has no handler for: pid_namespaces(7).
#include "child.hpp"
#include "../ops/sys.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>

namespace contained {

namespace {

// The command's end of this pipe is closed by execve, or by its death.
void wait_for_exec(int pipe) {
  char byte;
  while (read(pipe, &byte, 1) < 0 && errno == EINTR) {
  }
}

// As pid 1 its end is theirs; else nobody would end them. Before it is reaped, while its number is no other group's.
void end_group_of(pid_t command) {
  siginfo_t info{};
  if (waitid(P_PID, static_cast<id_t>(command), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == command) kill(-command, SIGKILL);
}

// Reaps everybody who is dead; tells whether the command was among them.
bool reap(pid_t command, int* status) {
  bool ended = false;
  end_group_of(command);
  for (;;) {
    int one;
    const pid_t pid = waitpid(-1, &one, WNOHANG);
    if (pid <= 0) return ended;
    if (pid == command) {
      ended = true;
      *status = one;
    }
  }
}

[[noreturn]] void keep_house(pid_t command, int channel) {
  sigset_t all;
  sigfillset(&all);
  for (int status = 0;;) {
    // Blocked since the launcher started, so none can be lost before the first wait.
    const int signal = sigwaitinfo(&all, nullptr);
    if (signal > 0 && signal != SIGCHLD) kill(command, signal);
    if (!reap(command, &status)) continue;
    send_note(channel, {Note::kStatus, 0, 0, status});
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
}

}  // namespace

int become_init(Launch& launch) {
  // The command has our uid: it must not be able to ptrace us, or to find a copy of the launcher in /proc/1/mem.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return errno;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return errno;
  const pid_t command = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (command < 0) return errno;
  if (command == 0) {
    close(ends[0]);
    // Likewise, should we be killed; a fork clears it: prctl(2).
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return errno;
    return sys::check(setsid());
  }
  // The streams belong to the command alone, or nobody would see their end.
  const int channel = launch.state.channel;
  const int pipe = fcntl(ends[0], F_DUPFD_CLOEXEC, channel + 1);
  close(ends[1]);
  sys::close_range(0, static_cast<unsigned>(channel - 1), 0);
  wait_for_exec(pipe);
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, command, 0));
  // Without, where the command may have so few descriptors that none may be on its way (ETOOMANYREFS): unix(7).
  if (!send_note(channel, {Note::kStarted, 0, 0, 0}, pidfd)) send_note(channel, {Note::kStarted, 0, 0, 0});
  if (pidfd >= 0) close(pidfd);
  keep_house(command, channel);
}

}  // namespace contained
