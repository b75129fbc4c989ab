// From a request to a running process: `host`, clone, `release`.
#include "container.hpp"

#include "../ops/acts.hpp"
#include "../ops/rights.hpp"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

namespace contained {

namespace {

int slots[kSlots];

void close_slots() {
  for (int& fd : slots) {
    if (fd >= 0) close(fd);
    fd = -1;
  }
}

// In a freshly cloned process: closes all but the slots and the channel. What else the launcher has open is of other
// containers; and as long as a copy of our socket's end is anywhere, Node cannot see that the launcher has died.
void keep_only(int channel) {
  int kept[kSlots + 2] = {2, channel};
  int count = 2;
  for (const int fd : slots)
    if (fd > 2) kept[count++] = fd;
  // Mostly in order already, and mostly a handful.
  for (int i = 1; i < count; ++i)
    for (int k = i; k > 0 && kept[k - 1] > kept[k]; --k) {
      const int larger = kept[k - 1];
      kept[k - 1] = kept[k];
      kept[k] = larger;
    }
  for (int i = 0; i < count; ++i) {
    const unsigned first = static_cast<unsigned>(kept[i]) + 1;
    const unsigned last = i + 1 < count ? static_cast<unsigned>(kept[i + 1]) - 1 : ~0U;
    if (first <= last) sys::close_range(first, last, 0);
  }
}

// `count` strings that stand one after the other, as execve wants them.
char** vector_of(const char* strings, int64_t count) {
  char** vector = static_cast<char**>(malloc((static_cast<size_t>(count) + 1) * sizeof(char*)));
  if (!vector) return nullptr;
  for (int64_t i = 0; i < count; ++i) {
    vector[i] = const_cast<char*>(strings);
    strings += strlen(strings) + 1;
  }
  vector[count] = nullptr;
  return vector;
}

}  // namespace

void Container::spawn(const Header& header, const Section& program, const int* attached, int count) {
  State state;
  state.base = program.base();
  state.slots = slots;
  for (int i = 0; i < kSlots; ++i) slots[i] = i < count ? attached[i] : -1;
  launch(header, program, state);
  close_slots();
  if (pidfd_) return;
  channel_.reset();
  begin_undoing();
}

void Container::refuse(int error) {
  fail(kClone, 0, error);
  begin_undoing();
}

void Container::launch(const Header& header, const Section& program, State& state) {
  pid_namespace_ = header.clone_flags & CLONE_NEWPID;
  detached_ = header.flags & kDetached;
  ledger(id_) = {id_, 0, 0, 0};
  const uint32_t total = list_start(program, kLists);
  if (header.flags & kTrace) {
    times_size_ = total * static_cast<uint32_t>(sizeof(uint32_t));
    times_ = static_cast<uint32_t*>(calloc(total, sizeof(uint32_t)));
  }
  Launch launch;
  launch.container = this;
  launch.header = &header;
  launch.program = &program;
  launch.state = state;
  launch.times = times_;
  for (uint32_t i = 0; i < total; ++i) {
    const Op& op = program.ops()[i];
    if (op.code == Code::init || op.code == Code::pause) has_init_ = true;
    if (op.code == Code::pause) shared_ = true;
    if (op.code != Code::exec) continue;
    launch.argv = vector_of(state.text(op.strings[2]), op.numbers[0]);
    launch.envp = vector_of(state.text(op.strings[3]), op.numbers[1]);
    break;  // it is the last
  }
  if (run_list(launch, kHost)) clone(launch);
  free(const_cast<char**>(launch.argv));
  free(const_cast<char**>(launch.envp));
}

// Lets the process go on that waits, or will: it gets the slots `from` … `from + count - 1`. One that has died meanwhile
// has said why, or its pidfd tells.
static int let_go(int64_t from, int64_t count, const State& state) {
  if (count > kHandedOver) return E2BIG;
  char go = 1;
  iovec part{&go, 1};
  if (sys::send_rights(state.channel, &part, 1, state.slots + from, static_cast<size_t>(count), MSG_NOSIGNAL) >= 0) return 0;
  return errno == EPIPE || errno == ECONNRESET ? 0 : errno;
}

// The ops that only the launcher can do; the rest is the interpreter's.
static int act_outside(const Op& op, Launch& launch) {
  State& state = launch.state;
  char path[PATH_MAX];
  switch (op.code) {
    case Code::pidfd: {
      Container* other = find(static_cast<uint32_t>(op.numbers[1]));
      if (!other || !other->ready() || other->undoing() || other->entrance() < 0) return ESRCH;
      if (op.numbers[2]) launch.container->enter(*other);  // and ends with it
      else other->share();
      return state.put(op.numbers[0], fcntl(other->entrance(), F_DUPFD_CLOEXEC, 0));
    }
    case Code::read:  // what a group that others use too had counted before
      launch.container->read_counter(state.text(op.strings[0]));
      return 0;
    case Code::log:
      return launch.container->open_log(op, state);
    case Code::writeProc:
      snprintf(path, sizeof path, "/proc/%d/%s", state.target, state.text(op.strings[0]));
      return write_at(AT_FDCWD, path, state.text(op.strings[1]));
    case Code::go:
      return let_go(op.numbers[0], op.numbers[1], state);
    default:
      return apply(op, state);
  }
}

bool Container::run_list(Launch& launch, uint32_t list) {
  const uint32_t first = list == kRelease ? launch.program->counts[kHost] : 0;
  for (uint32_t i = 0; i < launch.program->counts[list]; ++i) {
    if (const int error = step(launch, list, i, act_outside)) {
      if (list == kRelease) on_channel();  // a child that has died meanwhile has said why, and that is the reason
      fail(list, i, error);
      return false;
    }
    ledger(id_).done = done_ = first + i + 1;
  }
  return true;
}

void Container::clone(Launch& launch) {
  const Header& header = *launch.header;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return fail(kClone, 0, errno);
  channel_.reset(ends[0]);
  const sys::Fd other(ends[1]);
  launch.state.channel = ends[1];

  const bool joins = launch.program->counts[kJoin] > 0;
  const int cgroup = header.cgroup_slot < 0 ? -1 : slots[header.cgroup_slot];
  // /proc/PID/uid_map and the like can only be opened of a dumpable process; a copy of ours is what we are.
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  if (joins) share_ledger(true);
  const bool fault = header.fault_errno && header.fault_list == kClone;
  const uint64_t flags = (joins ? header.join_flags : header.clone_flags) | (detached_ ? 0 : CLONE_PARENT);
  const sys::CloneResult made = fault ? (errno = static_cast<int>(header.fault_errno), sys::CloneResult{-1, -1})
                                      : sys::clone_process(flags, cgroup, &ledger(id_).pid);
  if (made.pid == 0) {
    keep_only(ends[1]);
    if (joins) run_intermediate(launch);
    run_child(launch);
  }
  const int error = errno;
  if (joins) share_ledger(false);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (made.pid < 0) return fail(kClone, 0, error);

  pid_ = made.pid;
  pidfd_.reset(made.pidfd);
  watch(channel_.get(), this, Source::kChannel);
  watch(pidfd_.get(), this, Source::kPidfd);
  if (!joins) record_pid();
  release(launch, !joins);
}

// The namespace by which all of the container are found at its end. Open, so that its inode is nobody else's; now, while an init,
// which will not be dumpable, lets us.
void Container::hold_users() {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/ns/user", pid_);
  own_users_.reset(open(path, O_RDONLY | O_CLOEXEC));
}

// Does what must happen outside while the child does its part or waits, then lets it run the command. With an intermediate
// process that is when its child is known.
void Container::release(Launch& launch, bool last) {
  launch.state.target = pid_;
  launch.state.channel = channel_.get();
  const bool own_users = (launch.header->clone_flags | launch.header->join_flags) & CLONE_NEWUSER;
  if (own_users && !pid_namespace_ && !has_group()) hold_users();
  if (!run_list(launch, kRelease)) sys::pidfd_send_signal(pidfd_.get(), SIGKILL);
  else if (last) let_go(0, 0, launch.state);
}

}  // namespace contained
