// What runs between clone3 and execve: the lists `join` and `child`, then the command. This process is a copy of the
// launcher, which is single-threaded, so no lock can be held; still nothing here allocates, so that a memory limit
// that is already in force is not charged for it, and nothing returns.
#include "child.hpp"

#include "../ops/acts.hpp"
#include "../ops/rights.hpp"
#include "../ops/sys.hpp"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

namespace contained {

bool send_note(int channel, const Note& note, int fd) {
  iovec part{const_cast<Note*>(&note), sizeof note};
  return sys::send_rights(channel, &part, 1, &fd, fd >= 0, MSG_NOSIGNAL) >= 0;
}

void give_up(const Launch& launch, uint32_t list, uint32_t index, int error) {
  send_note(launch.state.channel, {Note::kFailed, list, index, error});
  _exit(127);
}

int step(Launch& launch, uint32_t list, uint32_t index, int (*act)(const Op&, Launch&)) {
  const Header& header = *launch.header;
  if (header.fault_errno && header.fault_list == list && header.fault_index == index)
    return static_cast<int>(header.fault_errno);
  const uint32_t at = list_start(*launch.program, list) + index;
  const Op& op = launch.program->ops()[at];
  const uint64_t start = launch.times ? sys::nanoseconds() : 0;
  const int error = act(op, launch);
  if (launch.times) launch.times[at] = static_cast<uint32_t>(sys::nanoseconds() - start);
  return error == op.forgiven ? 0 : error;
}

static void send_times(const Launch& launch) {
  Note note{Note::kTimes, 0, 0, 0};
  iovec parts[] = {{&note, sizeof note}, {launch.times, list_start(*launch.program, kLists) * sizeof(uint32_t)}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  (void)!sendmsg(launch.state.channel, &message, MSG_NOSIGNAL);
}

// execvp(3), in the root we are in by now, and with the container's PATH.
static int execute(const Op& op, Launch& launch) {
  const char* file = launch.state.text(op.strings[0]);
  const char* path = launch.state.text(op.strings[1]);
  if (launch.times) send_times(launch);
  const sched_param none{};
  if (sched_getscheduler(0) == SCHED_BATCH) sched_setscheduler(0, SCHED_OTHER, &none);
  if (strchr(file, '/')) {
    execve(file, launch.argv, launch.envp);
    return errno;
  }
  int error = ENOENT;
  for (const char* at = path; at; at = strchr(at, ':') ? strchr(at, ':') + 1 : nullptr) {
    char name[PATH_MAX];
    const int length = static_cast<int>(strcspn(at, ":"));
    if (snprintf(name, sizeof name, "%.*s/%s", length, at, file) >= static_cast<int>(sizeof name)) continue;
    execve(name, launch.argv, launch.envp);
    if (errno == EACCES) error = EACCES;
    else if (errno != ENOENT && errno != ENOTDIR) return errno;
  }
  return error;
}

// A terminal for the three standard streams; its master goes to Node, by way of the launcher.
static int give_terminal(const Op& op, State& state) {
  const int64_t* n = op.numbers;
  int slave = -1;
  const sys::Fd master(open_terminal(state.text(op.strings[0]), static_cast<uint16_t>(n[1]), static_cast<uint16_t>(n[2]), &slave));
  if (!master) return errno;
  if (const int error = state.put(n[0], slave)) return error;
  for (int i = 1; i < 3; ++i)
    if (const int error = state.put(n[0] + i, fcntl(slave, F_DUPFD_CLOEXEC, 0))) return error;
  return send_note(state.channel, {Note::kTerminal, 0, 0, 0}, master.get()) ? 0 : errno;
}

static int act_in_child(const Op& op, Launch& launch) {
  switch (op.code) {
    case Code::terminal:
      return give_terminal(op, launch.state);
    case Code::init:
      return become_init(launch);
    case Code::pause:
      hold_namespaces(launch);
    case Code::exec:
      return execute(op, launch);
    default:
      return apply(op, launch.state);
  }
}

static void run(Launch& launch, uint32_t list) {
  for (uint32_t i = 0; i < launch.program->counts[list]; ++i)
    if (const int error = step(launch, list, i, act_in_child)) give_up(launch, list, i, error);
}

void run_child(Launch& launch) {
  run(launch, kChild);
  _exit(127);  // a program without `exec`
}

// setns(2) and unshare(2) of a pid or time namespace, and of a user namespace for what is created after it, take
// effect in a child only. CLONE_PARENT makes that child Node's, not ours.
void run_intermediate(Launch& launch) {
  run(launch, kJoin);
  // The record of our child is ours to make: should the launcher die, nobody else knows of it.
  Ledger::Entry& entry = ledger(launch.header->id);
  entry.helper = entry.pid;
  share_ledger(false);
  const sys::CloneResult made = sys::clone_process(launch.header->clone_flags | CLONE_PARENT, -1, &entry.pid);
  if (made.pid == 0) run_child(launch);
  if (made.pid < 0) give_up(launch, kClone, 0, errno);
  if (send_note(launch.state.channel, {Note::kCloned, 0, 0, made.pid}, made.pidfd)) _exit(0);
  const int error = errno;
  sys::pidfd_send_signal(made.pidfd, SIGKILL);
  give_up(launch, kClone, 0, error);
}

}  // namespace contained
