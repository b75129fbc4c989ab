// How a container is sent signals, and how it is ended when a signal is not enough.
#include "container.hpp"
#include "reports.hpp"
#include "../ops/held.hpp"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace contained {

namespace {

constexpr uint64_t kFirst = 50;  // milliseconds until somebody who has been sent SIGKILL is looked at again
constexpr uint32_t kLooks = 20;  // half a minute
constexpr uint32_t kMostWaits = 100;  // for a tracer to take notice, 10 ms each

constexpr uint64_t bit(int number) { return uint64_t{1} << (number - 1); }
constexpr uint64_t kStops = bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);

// What a signal does to a process that neither catches nor ignores it: signal(7).
bool is_harmless(int number) { return number == 0 || number == SIGCHLD || number == SIGURG || number == SIGWINCH || number == SIGCONT; }
bool stops(int number) { return number == SIGTSTP || number == SIGTTIN || number == SIGTTOU; }

}  // namespace

uint32_t Container::timers = 0;

void Container::look_again_at(uint64_t when) {
  timers += (when != 0) - (look_at_ != 0);
  look_at_ = when;
}

// Whether the process catches or ignores the signal itself.
bool Container::handles(int number) const {
  char path[32], text[4096];
  snprintf(path, sizeof path, "/proc/%d/status", pid_);
  if (sys::read_file(AT_FDCWD, path, text, sizeof text) < 0) return false;
  const char* const keys[] = {"\nSigIgn:\t", "\nSigCgt:\t"};
  for (const char* key : keys) {
    const char* at = strstr(text, key);
    if (at && strtoull(at + strlen(key), nullptr, 16) >> (number - 1) & 1) return true;
  }
  return false;
}

// The kernel drops a signal for pid 1 of a namespace when there is no handler: pid_namespaces(7). Whoever says
// kill('SIGTERM') expects what it does to any other process, so the default action is carried out here.
void Container::signal(int number) {
  if (!pidfd_) return;
  int sent = number;
  // An init takes it whenever it gets there, since till then it is blocked, and hands it on.
  const bool can_be_dropped = pid_namespace_ && !has_init_ && !is_harmless(number) && number != SIGKILL && number != SIGSTOP;
  if (can_be_dropped && !(ready_ && handles(number))) sent = stops(number) ? SIGSTOP : SIGKILL;
  // In setup every signal is blocked, and does what it does when the command is about to run.
  const bool ends = sent == SIGKILL || (!ready_ && !has_init_ && !is_harmless(sent) && !stops(sent) && sent != SIGSTOP);
  if ((sent == SIGKILL ? kill_now() : sys::pidfd_send_signal(pidfd_.get(), sent)) == 0 && ends) signal_ = number;
  // What is pending goes to no child: fork(2).
  if (!ready_ && !helper_ && sent > 0 && sent <= 64) keep_signal(sent);
}

// As the kernel keeps them: who is to go on is not to stop any more, and the other way round (kernel/signal.c, prepare_signal).
void Container::keep_signal(int number) {
  if (number == SIGCONT) early_ &= ~kStops;
  if (bit(number) & kStops) early_ &= ~bit(SIGCONT);
  early_ |= bit(number);
}

// Those that the intermediate process has got in its child's place.
void Container::hand_on_signals() {
  for (int number = 1; number <= 64; ++number)
    if (early_ & bit(number) && number != SIGKILL) sys::pidfd_send_signal(pidfd_.get(), number);
}

// The first process, by whose end all others end. With neither a namespace nor a group they would not: an init sees to it when
// its command has ended, also one that was stopped by those it is to end.
int Container::kill_first() {
  const bool by_init = has_init_ && !pid_namespace_ && !has_group();
  if (by_init && !command_) find_command();
  if (!by_init || !command_) return sys::pidfd_send_signal(pidfd_.get(), SIGKILL);
  sys::pidfd_send_signal(pidfd_.get(), SIGCONT);
  return sys::pidfd_send_signal(command_.get(), SIGKILL);
}

int Container::kill_now() {
  killed_ = true;
  const int ret = pidfd_ ? kill_first() : -1;
  thaw();
  if (pidfd_ && !look_at_) look_again_at(milliseconds() + kFirst);
  return ret;
}

// It has been sent SIGKILL, and runs on: all of its group are killed, and whoever holds it up is.
void Container::look_again() {
  ++looks_;
  look_again_at(milliseconds() + (kFirst << (looks_ < 5 ? looks_ : 5)));
  pollfd ended{pidfd_.get(), POLLIN, 0};
  if (poll(&ended, 1, 0) > 0) return;  // its turn comes
  if (looks_ > kLooks && is_on_its_way_out(pid_)) return give_up();
  kill_members();
  kill_first();
  sys::pidfd_send_signal(pidfd_.get(), SIGKILL);  // an init that is stopped again and again
  thaw();
  // Its tracer may be held up by one of its own, and so on.
  if (free_held(pid_)) end_own_namespace();
  if (detached_) reap_strangers();
  else send(Report::kHeld, nullptr);
}

// No signal ends two that trace each other: both stop on their way out, and wait for each other for ever.
void Container::give_up() {
  if (!ready_) fail(kExecve, 0, ECHILD);
  unwatch(pidfd_.get());
  ended_ = static_cast<sys::Fd&&>(pidfd_);
  drop(channel_);
  undo_failed_ = kNoStep;
  undo_error_ = EBUSY;
  begin_undoing();
}

// Whoever is in a namespace that was made for it is of it; unless others were let in. Returns how many there were.
int Container::end_own_namespace() {
  struct stat found;
  if (own_users_ && !shared_) return fstat(own_users_.get(), &found) == 0 ? end_namespace("user", found.st_ino) : 0;
  const ino_t inode = pid_namespace_ ? namespace_of(pid_, "pid") : 0;
  // It was its number if that is still its own.
  return sys::pidfd_send_signal(pidfd_.get(), 0) == 0 ? end_namespace("pid", inode) : 0;
}

void Container::kill_members() {
  for (uint32_t i = 0; i < undo_->counts[0]; ++i) {
    const Op& op = undo_->ops()[i];
    if (op.code == Code::killCgroup && op.numbers[3] <= done_) (void)undo(op);
  }
}

// What the undo list writes is what a signal needs to be taken: on v1 not even SIGKILL reaches who is frozen
// (kernel/freezer.c, __refrigerator).
void Container::thaw() {
  for (uint32_t i = 0; i < undo_->counts[0]; ++i) {
    const Op& op = undo_->ops()[i];
    if (op.code == Code::write && op.numbers[3] <= done_) (void)undo(op);
  }
}

// A pid namespace's end is the end of all in it; without one somebody must see to it.
void Container::kill_guests() {
  if (visited_) for_each_guest(id_, [](Container& guest) { guest.kill_now(); });
}

// It has outlived its init, which it could kill.
void Container::kill_command() {
  if (!command_ || pid_namespace_) return;
  sys::pidfd_send_signal(command_.get(), SIGKILL, sys::kProcessGroup);
  sys::pidfd_send_signal(command_.get(), SIGKILL);
}

void Container::reap_helper() {
  if (!helper_end_) return;
  siginfo_t info{};
  syscall(SYS_waitid, P_PID, helper_, &info, WEXITED | WNOHANG | __WALL, nullptr);
  drop(helper_end_);
}

// Also one of which nobody has told yet.
bool Container::has(pid_t pid) const {
  const Ledger::Entry& entry = ledger(id_);
  return pid == pid_ || pid == helper_ || (entry.id == id_ && pid == entry.pid);
}

// Nobody else is the parent of what is detached, nor of the process that has gone ahead of it. False: its tracer is told first,
// and has not taken notice yet.
bool Container::reap() {
  siginfo_t info{};
  reap_helper();
  if (!ended_) return true;
  const bool ours = syscall(SYS_waitid, P_PIDFD, ended_.get(), &info, WEXITED | WNOHANG | __WALL, &usage_) == 0;
  if (ours && info.si_pid == 0 && ++looks_ < kMostWaits) {
    looks_ <= kMostWaits / 2 ? reap_threads(pid_) : (void)free_held(pid_);  // a tracer may be only slow
    return false;
  }
  // The child of a launcher that was killed, or one that cannot be had.
  if (!ours || info.si_pid == 0) {
    if (status_ < 0) status_ = ending_of(pid_, ended_.get(), &usage_);
  } else if (status_ < 0) {
    status_ = wait_status(info);
  }
  if (!pid_namespace_) reap_strangers();
  return true;
}

}  // namespace contained
