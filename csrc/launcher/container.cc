#include "container.hpp"

#include "../ops/acts.hpp"

#include <limits.h>
#include <poll.h>
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
  free(undo_);
  free(times_);
}

void Container::fail(uint32_t list, uint32_t index, int error) {
  if (failed_) return;
  failed_ = true;
  failed_list_ = list;
  failed_index_ = index;
  error_ = error;
}

void Container::spawn(const Header& header, const Section& program, const int* attached, int count) {
  State state;
  state.base = program.base();
  state.slots = slots;
  for (int i = 0; i < kSlots; ++i) slots[i] = i < count ? attached[i] : -1;
  launch(header, program, state);
  close_slots();
  if (pidfd_) return;
  channel_.reset();
  undoing_ = true;
}

void Container::launch(const Header& header, const Section& program, State& state) {
  pid_namespace_ = header.clone_flags & CLONE_NEWPID;
  ledger(id_) = {id_, 0, 0, 0};
  const uint32_t total = list_start(program, kLists);
  if (header.flags & kTrace) {
    times_size_ = total * static_cast<uint32_t>(sizeof(uint32_t));
    times_ = static_cast<uint32_t*>(calloc(total, sizeof(uint32_t)));
  }
  Launch launch;
  launch.header = &header;
  launch.program = &program;
  launch.state = state;
  launch.times = times_;
  for (uint32_t i = 0; i < total; ++i) {
    const Op& op = program.ops()[i];
    if (op.code == Code::init) has_init_ = true;
    if (op.code != Code::exec) continue;
    launch.argv = vector_of(state.text(op.strings[2]), op.numbers[0]);
    launch.envp = vector_of(state.text(op.strings[3]), op.numbers[1]);
    break;  // it is the last
  }
  if (run_list(launch, kHost)) clone(launch);
  free(const_cast<char**>(launch.argv));
  free(const_cast<char**>(launch.envp));
}

// The ops that only the launcher can do; the rest is the interpreter's.
static int act_outside(const Op& op, Launch& launch) {
  State& state = launch.state;
  char path[PATH_MAX];
  switch (op.code) {
    case Code::pidfd: {
      const Container* other = find(static_cast<uint32_t>(op.numbers[1]));
      if (!other || other->pidfd() < 0) return ESRCH;
      return state.put(op.numbers[0], fcntl(other->pidfd(), F_DUPFD_CLOEXEC, 0));
    }
    case Code::writeProc:
      snprintf(path, sizeof path, "/proc/%d/%s", state.target, state.text(op.strings[0]));
      return write_at(AT_FDCWD, path, state.text(op.strings[1]));
    default:
      return apply(op, state);
  }
}

bool Container::run_list(Launch& launch, uint32_t list) {
  for (uint32_t i = 0; i < launch.program->counts[list]; ++i) {
    if (const int error = step(launch, list, i, act_outside)) {
      fail(list, i, error);
      return false;
    }
    if (list == kHost) ledger(id_).done = done_ = i + 1;
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
  const bool fault = header.fault_errno && header.fault_list == kClone;
  const sys::CloneResult made = fault ? (errno = static_cast<int>(header.fault_errno), sys::CloneResult{-1, -1})
                                      : sys::clone_sibling(joins ? header.join_flags : header.clone_flags, cgroup);
  if (made.pid == 0) {
    keep_only(ends[1]);
    if (joins) run_intermediate(launch);
    run_child(launch);
  }
  const int error = errno;
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (made.pid < 0) return fail(kClone, 0, error);

  pid_ = made.pid;
  pidfd_.reset(made.pidfd);
  ledger(id_).pid = pid_;
  watch(channel_.get(), this, true);
  watch(pidfd_.get(), this, false);
  release(launch, !joins);
}

// Does what must happen outside while the child waits, then lets it go on: once for the ops, once for the command.
// With an intermediate process the second time is when its child is known.
void Container::release(Launch& launch, bool last) {
  launch.state.target = pid_;
  const char go = 1;
  if (launch.program->counts[kRelease]) {
    if (!run_list(launch, kRelease)) {
      sys::pidfd_send_signal(pidfd_.get(), SIGKILL);
      return;
    }
    (void)!::send(channel_.get(), &go, 1, MSG_NOSIGNAL);
  }
  if (last) (void)!::send(channel_.get(), &go, 1, MSG_NOSIGNAL);
}

void Container::adopt(pid_t pid, uint32_t done) {
  done_ = done;
  pid_ = pid;
  ready_ = true;
  pidfd_.reset(pid ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
  if (pidfd_) watch(pidfd_.get(), this, false);
  else undoing_ = true;
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
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  for (;;) {
    iovec part{buffer, sizeof buffer};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(channel_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) break;
    int pidfd = -1;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message)) memcpy(&pidfd, CMSG_DATA(header), sizeof pidfd);
    Note note;
    memcpy(&note, buffer, sizeof note);
    handle(note, buffer + sizeof note, static_cast<uint32_t>(n) - static_cast<uint32_t>(sizeof note), pidfd);
  }
  // The last holder of the other end has closed it: by execve, or by dying before it got there.
  drop(channel_);
  if (!ready_ && !failed_ && !has_init_ && !died_in_setup()) report_ready();
}

void Container::handle(const Note& note, const char* rest, uint32_t rest_size, int pidfd) {
  const char go = 1;
  switch (note.kind) {
    case Note::kFailed:
      return fail(note.list, note.index, note.value);
    case Note::kCloned:
      take_child(note.value, pidfd);
      (void)!::send(channel_.get(), &go, 1, MSG_NOSIGNAL);
      return;
    case Note::kTimes:
      if (rest_size == times_size_) memcpy(times_, rest, rest_size);
      return;
    case Note::kStarted:
      if (!failed_) report_ready();
      return;
    case Note::kStatus:
      status_ = note.value;
      return;
  }
}

// From now on the container is the intermediate process's child.
void Container::take_child(pid_t pid, int pidfd) {
  helper_ = pid_;
  pid_ = pid;
  drop(pidfd_);
  pidfd_.reset(pidfd);
  ledger(id_).pid = pid_;
  ledger(id_).helper = helper_;
  watch(pidfd_.get(), this, false);
}

// Both execve and death close the channel. A process that is alive has passed execve; of a dead one the name tells.
bool Container::died_in_setup() const {
  pollfd poll_fd{pidfd_.get(), POLLIN, 0};
  if (poll(&poll_fd, 1, 0) == 0) return false;
  char path[32], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", pid_);
  if (sys::read_file(AT_FDCWD, path, text, sizeof text) < 0) return true;
  const char* name = strchr(text, '(');
  return name && strncmp(name + 1, kName, strlen(kName)) == 0 && name[1 + strlen(kName)] == ')';
}

void Container::on_exit() {
  if (channel_) on_channel();
  // An intermediate process that has handed over its child has nothing more to say.
  pollfd poll_fd{pidfd_.get(), POLLIN, 0};
  if (poll(&poll_fd, 1, 0) == 0) return;
  if (!ready_) fail(kExecve, 0, ECHILD);
  drop(pidfd_);
  drop(channel_);
  undoing_ = true;
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
  const bool harmless = number == 0 || number == SIGCHLD || number == SIGURG || number == SIGWINCH || number == SIGCONT;
  const bool stops = number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
  int sent = number;
  if (pid_namespace_ && !harmless && number != SIGKILL && number != SIGSTOP) {
    const bool init = ready_ && has_init_;
    if (!init && !(ready_ && handles(number))) sent = stops ? SIGSTOP : SIGKILL;
  }
  if (sys::pidfd_send_signal(pidfd_.get(), sent) == 0 && sent == SIGKILL) signal_ = number;
}

void Container::kill() {
  if (pidfd_) sys::pidfd_send_signal(pidfd_.get(), SIGKILL);
}

void Container::kill_members() {
  for (uint32_t i = 0; i < undo_->counts[0]; ++i) {
    const Op& op = undo_->ops()[i];
    if (op.code == Code::killCgroup && op.numbers[3] <= done_) (void)undo(op);
  }
}

int Container::undo(const Op& op) {
  State state;
  state.base = undo_->base();
  state.target = pid_;
  if (op.code == Code::killGroup && pid_ == 0) return 0;
  if (op.code == Code::read) {
    char text[4096];
    const ssize_t size = sys::read_file(AT_FDCWD, state.text(op.strings[0]), text, sizeof text);
    counters_.append(size < 0 ? "" : text, size < 0 ? 1 : static_cast<uint32_t>(size) + 1);
    return 0;
  }
  return perform(op, state);
}

// A directory is busy while a member is still dying: it is killed (again) and the step tried again, after 1, 2, 4 …
// milliseconds. After ten seconds the step is given up, reported, and the rest is still done.
bool Container::undo_on(uint64_t now) {
  for (; undo_index_ < undo_->counts[0]; ++undo_index_) {
    const Op& op = undo_->ops()[undo_index_];
    if (op.numbers[3] > done_) {
      if (op.code == Code::read) counters_.append("", 1);
      continue;
    }
    const int error = undo(op);
    if (error == EBUSY && retries_ < 100) {
      kill_members();
      retry_at_ = now + (retries_ < 7 ? 1u << retries_ : 100);
      ++retries_;
      return false;
    }
    if (error && !undo_error_) {
      undo_failed_ = undo_index_;
      undo_error_ = error;
    }
  }
  report_exited();
  return true;
}

void Container::report_ready() {
  ready_ = true;
  Text trace;
  if (times_) trace.append(times_, times_size_);
  send(Report::kReady, &trace);
}

void Container::report_exited() {
  ledger(id_).id = 0;
  send(Report::kExited, &counters_);
}

void Container::send(Report report, const Text* text) {
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
  message.text_size = text->size;
  tell_node(message, text);
}

}  // namespace contained
