// What happens to a container while it runs, and what Node is told of it.
#include "container.hpp"
#include "reports.hpp"
#include "../ops/rights.hpp"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace contained {

Text::~Text() { free(bytes); }

void Text::append(const void* data, uint32_t length) {
  if (size + length > kText) return;
  char* grown = static_cast<char*>(realloc(bytes, size + length));
  if (!grown) return;
  bytes = grown;
  memcpy(bytes + size, data, length);
  size += length;
}

// The undo list is copied before anything is made: whatever happens from here on, it is run.
Container::Container(const Header& header, const Section& undo)
    : id_(header.id), undo_(static_cast<Section*>(malloc(undo.size))) {
  if (!undo_) abort();
  memcpy(undo_, &undo, undo.size);
}

Container::~Container() {
  drop(pidfd_);
  drop(channel_);
  drop(helper_end_);
  for (int i = 0; i < 2; ++i) close_log(i);  // Node has copies, which go on telling of the end of what they are
  if (undoing_) --timers;
  look_again_at(0);
  free(undo_);
  free(times_);
}

void Container::begin_undoing() {
  look_again_at(0);
  looks_ = 0;
  timers += !undoing_;
  undoing_ = true;
}

void Container::fail(uint32_t list, uint32_t index, int error) {
  if (failed_) return;
  failed_ = true;
  failed_list_ = list;
  failed_index_ = index;
  error_ = error;
}

void Container::adopt(const Header& header, const int* fds, int count) {
  const pid_t pid = header.pid;
  done_ = header.done;
  pid_ = pid;
  ready_ = true;
  pid_namespace_ = header.clone_flags & CLONE_NEWPID;
  has_init_ = header.flags & kInit;
  lost_ = header.flags & kLost;
  detached_ = header.flags & kDetached;
  resume_log(fds, count);
  const uint64_t start = header.start_time ? header.start_time : recorded_start();
  pidfd_.reset(pid ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
  // The number may have gone to another process: what the pidfd stands for is looked at when it is there. Where what was kept
  // of a detached one is taken away it has ended, and another launcher could not tell any more.
  const bool another = start ? start_time(pid) != start : detached_ && !lost_ && record();
  if (pidfd_ && another) {
    pidfd_.reset();
    pid_ = 0;
  }
  if (pidfd_ && !foreign_) record_pid();
  if (!pidfd_) {
    begin_undoing();
    return;
  }
  find_command();
  watch(pidfd_.get(), this, Source::kPidfd);
}

void Container::attend(const Header& header) {
  foreign_ = true;
  adopt(header, nullptr, 0);
}

// Whom an init stands for: the first of its children.
void Container::find_command() {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid_, pid_);
  if (!has_init_ || sys::read_file(AT_FDCWD, path, text, sizeof text) <= 0) return;
  command_.reset(static_cast<int>(syscall(SYS_pidfd_open, atoi(text), 0)));
}

// Closing alone would leave it in the epoll set as long as a child that is still in setup has a copy: epoll(7), "Will
// closing a file descriptor cause it to be removed". Its events would then be for a container that is gone.
void Container::drop(sys::Fd& fd) {
  if (!fd) return;
  unwatch(fd.get());
  fd.reset();
}

void Container::on_channel() {
  char buffer[sizeof(Note) + kText];
  for (;;) {
    int fd = -1;
    const ssize_t n = sys::receive_rights(channel_.get(), buffer, sizeof buffer, &fd, 1, MSG_DONTWAIT).size;
    // ECONNRESET: the child has ended without reading what we sent it. What it has said is still there: unix(7).
    if (n < 0 && (errno == EINTR || errno == ECONNRESET)) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) break;
    sys::Fd attached(fd);
    if (static_cast<size_t>(n) < sizeof(Note)) continue;
    Note note;
    memcpy(&note, buffer, sizeof note);
    handle(note, buffer + sizeof note, static_cast<uint32_t>(n) - static_cast<uint32_t>(sizeof note), static_cast<sys::Fd&&>(attached));
  }
  // The last holder of the other end has closed it: by execve, or by dying before it got there.
  drop(channel_);
  // Both close it; but execve takes the process's mark of a fork away before, fs/exec.c, begin_new_exec, while it gets its new
  // name only after. A zombie has the mark, too, until Node reaps it; what fails is for want of a descriptor and tells nothing.
  if (!ready_ && !failed_ && !has_init_ && has_executed(pid_)) report_ready();
}

void Container::handle(const Note& note, const char* rest, uint32_t rest_size, sys::Fd attached) {
  const char go = 1;
  switch (note.kind) {
    case Note::kFailed:
      return fail(note.list, note.index, note.value);
    case Note::kCloned:
      // Who has come to hold the child's end cannot name somebody else: the kernel has told who it is.
      if (helper_ || attached.get() < 0 || note.value != ledger(id_).pid) return;
      take_child(note.value, attached.release());
      (void)!::send(channel_.get(), &go, 1, MSG_NOSIGNAL);
      return;
    case Note::kTimes:
      if (rest_size == times_size_) take_times(rest);
      return;
    case Note::kStarted:
      if (!has_init_ || ready_) return;  // whoever has got the child's end says this
      command_ = static_cast<sys::Fd&&>(attached);
      if (!command_) find_command();
      if (!failed_) report_ready();
      return;
    case Note::kStatus:
      status_ = note.value;
      return;
    case Note::kTerminal:
      terminal_ = static_cast<sys::Fd&&>(attached);
      return;
  }
}

// Of our own ops we have the times, and those before the clone it has too.
void Container::take_times(const char* bytes) {
  for (uint32_t i = 0; i < times_size_ / sizeof *times_; ++i) {
    uint32_t time;
    memcpy(&time, bytes + i * sizeof time, sizeof time);
    if (time) times_[i] = time;
  }
}

// From now on the container is the intermediate process's child.
void Container::take_child(pid_t pid, int pidfd) {
  helper_ = pid_;
  pid_ = pid;
  if (early_) sys::pidfd_send_signal(pidfd_.get(), SIGCONT);  // it may have been stopped in its child's place
  if (detached_) {
    unwatch(pidfd_.get());
    helper_end_ = static_cast<sys::Fd&&>(pidfd_);
    watch(helper_end_.get(), this, Source::kHelper);
  } else {
    drop(pidfd_);
  }
  pidfd_.reset(pidfd);
  watch(pidfd_.get(), this, Source::kPidfd);
  record_pid();
  hand_on_signals();
  if (killed_) kill_now();
}

void Container::on_exit() {
  if (channel_) on_channel();
  // An intermediate process that has handed over its child has nothing more to say.
  pollfd poll_fd{pidfd_.get(), POLLIN, 0};
  if (poll(&poll_fd, 1, 0) == 0) return;
  // It may have been killed before it could tell of its child.
  const Ledger::Entry& entry = ledger(id_);
  if (!ready_ && !helper_ && entry.id == id_ && entry.helper == pid_ && entry.pid != pid_) {
    killed_ = true;
    return take_child(entry.pid, static_cast<int>(syscall(SYS_pidfd_open, entry.pid, 0)));
  }
  // Another may still hold the child's end: who has gone ahead of it, or has got it in there.
  if (!ready_ && !failed_ && !has_init_ && has_executed(pid_)) report_ready();
  if (!ready_) fail(kExecve, 0, ECHILD);
  unwatch(pidfd_.get());
  ended_ = static_cast<sys::Fd&&>(pidfd_);
  drop(channel_);
  begin_undoing();
  kill_command();
  kill_guests();
}

bool Container::lose_node() {
  if (foreign_) drop(pidfd_);
  if (foreign_ || (detached_ && ready_)) return foreign_;
  // Its command may have begun to run by now; nobody has been told.
  abandoned_ = true;
  kill_now();
  return false;
}

void Container::report_ready() {
  ready_ = true;
  if (!abandoned_) record_pid();
  Text trace;
  if (times_) trace.append(times_, times_size_);
  // Node keeps the ends of the log for another launcher, should this one be killed.
  const int fds[] = {terminal_ ? terminal_.get() : log_.source(0), log_.source(1)};
  send(Report::kReady, &trace, fds, terminal_ ? 1 : fds[0] >= 0 && fds[1] >= 0 ? 2 : 0);
  terminal_.reset();
}

void Container::report_exited() {
  if (Container* host = below_ ? find(host_) : nullptr) host->lose_guest();
  record_end();
  send(Report::kExited, &counters_);
  if (ledger(id_).id == id_) ledger(id_).id = 0;
}

void Container::send(Report report, const Text* text, const int* fds, int count) {
  Message message{};
  message.report = report;
  message.id = id_;
  message.pid = pid_;
  message.helper = helper_;
  message.list = failed_list_;
  message.index = failed_index_;
  message.error = error_;
  message.undo_index = undo_failed_;
  message.undo_error = undo_error_;
  message.status = status_;
  message.signal = signal_;
  message.text_size = text ? text->size : 0;
  message.usage = usage_;
  tell_node(message, text ? text->bytes : nullptr, message.text_size, fds, count);
}

}  // namespace contained
