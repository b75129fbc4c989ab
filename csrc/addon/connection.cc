// Theory of operation. Requests are sent by whoever makes them, at once, on the calling thread (3 µs); what does not
// fit into the socket is queued for the connection's thread. That thread is started with the first request and lives as
// long as the process: it starts the launcher, hears what it reports, reaps the contained processes (they are its
// children), and starts another launcher when one is killed. One mutex guards it all and is never held over a call
// that takes long.
#include "connection.hpp"

#include "../ops/rights.hpp"
#include "packet.hpp"
#include "start.hpp"
#include "thread.hpp"

#include <deque>
#include <mutex>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unordered_map>

namespace contained {

namespace {

struct Waiting {
  uint32_t id;
  std::vector<uint8_t> bytes;
  std::vector<Attached> fds;
};

struct Record {
  Listener* listener;
  std::vector<uint8_t> undo;  // its section of the request, for another launcher
  uint32_t outside_ops;
  uint64_t clone_flags;
  bool joins, init;
  bool detached = false;      // goes on without the listener
  uint64_t start_time = 0;    // of a container of another launcher's; else 0
  sys::Fd log[2] = {};        // its ends that are read: without any its command would be told EPIPE
  bool sent = false, ready = false, lost = false, killed = false;
  pid_t pid = 0, helper = 0;
};

// Never destroyed: the thread still uses them while a Node that exits runs destructors.
std::mutex& mutex = *new std::mutex;
std::mutex& delivering = *new std::mutex;  // taken after `mutex`: a listener is told something
std::unordered_map<uint32_t, Record>& records = *new std::unordered_map<uint32_t, Record>;
std::deque<Waiting>& queue = *new std::deque<Waiting>;
Started& launcher = *new Started;
bool running = false;  // the thread
int wake_fd = -1, epoll_fd = -1;  // made before the thread, which has nobody to tell that there is no descriptor left

// 0: gone. Else it must wait: the socket is full, too many fds are in flight (ETOOMANYREFS), or the launcher has died
// and its end will be noticed by the thread.
int try_send(const uint8_t* bytes, size_t size, const std::vector<Attached>& fds) {
  if (!launcher.socket) return EAGAIN;
  return send_packet(launcher.socket.get(), bytes, size, fds);
}

void wake() {
  const uint64_t one = 1;
  (void)!write(wake_fd, &one, sizeof one);
}

void deliver(Listener* listener, Event* event) {
  if (listener) listener->hear(event);
  else delete event;
}

// The request never left.
void fail(uint32_t id, int error) {
  const auto found = records.find(id);
  if (found == records.end()) return;
  auto* event = new Event;
  event->message = {};
  event->message.report = Report::kExited;
  event->message.id = id;
  event->message.list = kClone;
  event->message.error = error;
  event->message.status = -1;
  deliver(found->second.listener, event);
  records.erase(found);
}

// The caller may close a borrowed fd as soon as we return.
void enqueue(uint32_t id, const uint8_t* bytes, size_t size, std::vector<Attached> fds) {
  for (Attached& fd : fds) {
    if (fd.owned) continue;
    const int copy = fcntl(fd.fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
      const int error = errno;
      close_owned(fds);
      return fail(id, error);
    }
    fd = {copy, true};
  }
  queue.push_back({id, {bytes, bytes + size}, std::move(fds)});
  wake();
}

void submit(uint32_t id, const uint8_t* bytes, size_t size, std::vector<Attached> fds) {
  if (!queue.empty() || try_send(bytes, size, fds) != 0) return enqueue(id, bytes, size, std::move(fds));
  close_owned(fds);
  if (const auto found = records.find(id); found != records.end()) found->second.sent = true;
}

void flush() {
  while (!queue.empty()) {
    Waiting& packet = queue.front();
    const int error = try_send(packet.bytes.data(), packet.bytes.size(), packet.fds);
    if (error && error != EBADF) return;
    close_owned(packet.fds);
    if (error) fail(packet.id, error);
    else if (const auto found = records.find(packet.id); found != records.end()) found->second.sent = true;
    queue.pop_front();
  }
}

Header plain_header(Request request, uint32_t id) {
  Header header{};
  header.request = request;
  header.id = id;
  header.cgroup_slot = -1;
  return header;
}

void send_signal(uint32_t id, int number) {
  Header header = plain_header(Request::kSignal, id);
  header.signal = number;
  submit(0, reinterpret_cast<const uint8_t*>(&header), sizeof header, {});
}

void reap(pid_t pid, int* status, rusage* usage) {
  if (pid <= 0) return;
  siginfo_t info{};
  // -1 when somebody else's waitpid(-1), or an ignored SIGCHLD, has taken the status.
  if (syscall(SYS_waitid, P_PID, pid, &info, WEXITED | __WALL, usage) < 0) return;
  *status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status & 0x7f;
}

// What is on record of a start that nobody goes on with. An intermediate process may still be making its child: when
// it is dead it has, or never will. It does nothing that can hang.
Ledger::Entry final_entry(const Ledger::Entry& entry, bool joins) {
  const pid_t pid = entry.pid;
  if (joins && pid > 0 && (entry.helper == 0 || entry.helper == pid)) {
    // Not waitid(2): of what is detached we are not the parent.
    const sys::Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    pollfd ended{pidfd.get(), POLLIN, 0};
    if (pidfd && sys::pidfd_send_signal(pidfd.get(), SIGKILL) == 0) poll(&ended, 1, 1000);
  }
  Ledger::Entry ret = entry;
  if (ret.helper == ret.pid) ret.helper = 0;
  return ret;
}

// Not called with the lock held: reaping takes a process apart, and whoever is told preempts this thread and may want to
// spawn at once. `delivering` keeps the listener there until it has heard.
void on_message(const char* bytes, size_t size, sys::Fd (&attached)[2]) {
  auto* event = new Event;
  memcpy(&event->message, bytes, sizeof event->message);
  const Message& message = event->message;
  event->text.assign(bytes + sizeof message, bytes + size);

  std::unique_lock<std::mutex> lock(mutex);
  auto found = records.find(message.id);
  if (found == records.end()) return delete event;
  int ignored;
  Listener* listener;
  if (message.report == Report::kReady) {
    found->second.ready = true;
    found->second.pid = message.pid;
    const bool detached = found->second.detached;
    if (detached) for (int i = 0; i < 2; ++i) found->second.log[i] = static_cast<sys::Fd&&>(attached[i]);
    else event->terminal = static_cast<sys::Fd&&>(attached[0]);
    listener = found->second.listener;
    const std::lock_guard<std::mutex> hearing(delivering);
    lock.unlock();
    if (!detached) reap(message.helper, &ignored, nullptr);  // it ends as soon as it has handed over
    return deliver(listener, event);
  }
  const bool ours = !found->second.detached && !found->second.start_time;
  const pid_t helper = found->second.ready ? 0 : message.helper ? message.helper : found->second.helper;
  lock.unlock();
  if (ours) {
    reap(helper, &ignored, nullptr);
    reap(message.pid, &event->wait_status, &event->usage);
  } else {
    event->usage = message.usage;
  }
  lock.lock();
  found = records.find(message.id);
  listener = found->second.listener;
  event->lost = found->second.lost;
  records.erase(found);
  const std::lock_guard<std::mutex> hearing(delivering);
  lock.unlock();
  deliver(listener, event);
}

// The successor of a killed launcher: what ran goes on running and is watched; what was being started is killed, since
// nobody knows how far it came, and its failure is reported when it is gone. What was still queued is simply sent.
void hand_over(Ledger* ledger) {
  std::deque<Waiting> waiting;
  waiting.swap(queue);
  for (auto& [id, record] : records) {
    if (!record.sent) continue;
    Header header = plain_header(record.start_time ? Request::kWatch : Request::kAdopt, id);
    header.done = record.outside_ops;
    header.clone_flags = record.clone_flags;
    header.flags = (record.init ? static_cast<uint32_t>(kInit) : 0) | (record.detached ? static_cast<uint32_t>(kDetached) : 0);
    header.start_time = record.start_time;
    if (!record.ready) {
      Ledger::Entry entry = ledger->entries[id % kLedger];
      const bool known = entry.id == id;
      if (known) entry = final_entry(ledger->entries[id % kLedger], record.joins);
      record.lost = true;
      record.pid = known ? entry.pid : 0;
      record.helper = known ? entry.helper : 0;
      header.done = known ? entry.done : 0;
      if (known) header.flags |= kLost;
    }
    header.pid = record.pid;
    const auto* start = reinterpret_cast<const uint8_t*>(&header);
    std::vector<uint8_t> bytes(start, start + sizeof header);
    bytes.insert(bytes.end(), record.undo.begin(), record.undo.end());
    std::vector<Attached> fds;
    if (record.log[0] && record.log[1]) fds = {{record.log[0].get(), false}, {record.log[1].get(), false}};
    submit(id, bytes.data(), bytes.size(), std::move(fds));
    // The pid is still its own: nobody but this thread reaps it.
    if (record.pid && record.lost) kill(record.pid, SIGKILL);
    if (record.helper && record.lost) kill(record.helper, SIGKILL);
    if (record.killed) send_signal(id, SIGKILL);
  }
  for (Waiting& packet : waiting) queue.push_back(std::move(packet));
}

// Nothing can be started: everything that waits fails with the reason.
void fail_all(int error) {
  for (Waiting& packet : queue) close_owned(packet.fds);
  queue.clear();
  while (!records.empty()) fail(records.begin()->first, error);
}

void restart() {
  Started old;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    old = std::move(launcher);
    launcher = Started();
  }
  int ignored;
  reap(old.pid, &ignored, nullptr);
  Started fresh = start_launcher();  // meanwhile requests are queued

  const std::lock_guard<std::mutex> lock(mutex);
  launcher = std::move(fresh);
  if (launcher.socket) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = launcher.socket.get();
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, launcher.socket.get(), &event);
    if (old.ledger) hand_over(old.ledger);
  } else {
    fail_all(launcher.error);
  }
  if (old.ledger) munmap(old.ledger, sizeof(Ledger));
}

// Everything the launcher has said so far; false when it is dead.
bool hear_all() {
  alignas(8) static char packet[sizeof(Message) + kText];
  for (;;) {
    int fds[2] = {-1, -1};
    // None where this process may have no more: MSG_CTRUNC, unix(7). Who waits for it is told by that.
    const ssize_t n = sys::receive_rights(launcher.socket.get(), packet, sizeof packet, fds, 2, MSG_DONTWAIT).size;
    // ECONNRESET, once: it has died without reading all of our requests. What it has said before is still there: unix(7).
    if (n < 0 && (errno == EINTR || errno == ECONNRESET)) continue;
    if (n < 0) return errno == EAGAIN;
    if (n == 0) return false;
    sys::Fd attached[] = {sys::Fd(fds[0]), sys::Fd(fds[1])};
    if (static_cast<size_t>(n) >= sizeof(Message)) on_message(packet, static_cast<size_t>(n), attached);
  }
}

[[noreturn]] void listen() {
  epoll_event wake_event{};
  wake_event.events = EPOLLIN;
  wake_event.data.fd = wake_fd;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &wake_event);
  restart();
  for (;;) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      flush();
    }
    // What the launcher reports tells that it has also read. A watch for room in the socket would wake this thread
    // for every request, and ETOOMANYREFS has no event of its own; so a queue that does not move is looked at again.
    epoll_event event;
    mutex.lock();
    const int patience = queue.empty() ? -1 : 10;
    mutex.unlock();
    const int n = epoll_wait(epoll_fd, &event, 1, patience);
    if (n == 1 && event.data.fd == wake_fd) {
      uint64_t count;
      (void)!read(wake_fd, &count, sizeof count);
      if (!launcher.socket) restart();
    } else if (n == 1 && !hear_all()) {
      restart();
    }
  }
}

void* listen_thread(void*) { listen(); }

// An errno when there can be no thread.
int ensure_running() {
  if (running) return 0;
  if (wake_fd < 0) wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) return errno;
  if (epoll_fd < 0) epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return errno;
  const int error = start_thread(listen_thread);
  running = !error;
  return error;
}

}  // namespace

void spawn(Listener* listener, const uint8_t* request, size_t size, std::vector<Attached> fds) {
  const Header& header = *reinterpret_cast<const Header*>(request);
  const Section& program = *reinterpret_cast<const Section*>(request + sizeof header);
  const uint8_t* const undo = request + sizeof header + program.size;

  const std::lock_guard<std::mutex> lock(mutex);
  uint32_t ops = 0;
  for (const uint32_t count : program.counts) ops += count;
  bool init = false;
  for (uint32_t i = 0; i < ops; ++i) init |= program.ops()[i].code == Code::init || program.ops()[i].code == Code::pause;
  const uint32_t outside = program.counts[kHost] + program.counts[kRelease];
  const auto at = records.emplace(header.id, Record{listener, {undo, request + size}, outside, header.clone_flags, program.counts[kJoin] > 0, init}).first;
  at->second.detached = header.flags & kDetached;
  if (const int error = ensure_running()) {
    close_owned(fds);
    return fail(header.id, error);
  }
  Header small;
  if (size > kPacket && move_to_memfd(request, size, &small, &fds))
    return submit(header.id, reinterpret_cast<const uint8_t*>(&small), sizeof small, std::move(fds));
  submit(header.id, request, size, std::move(fds));
}

void attend(Listener* listener, const Header& header) {
  static const Section nothing{sizeof nothing, {}};
  uint8_t request[sizeof header + sizeof nothing];
  memcpy(request, &header, sizeof header);
  memcpy(request + sizeof header, &nothing, sizeof nothing);

  const std::lock_guard<std::mutex> lock(mutex);
  Record record{listener, {request + sizeof header, request + sizeof request}, 0, header.clone_flags, false, (header.flags & kInit) != 0};
  record.start_time = header.start_time;
  record.ready = true;
  record.pid = header.pid;
  records.emplace(header.id, std::move(record));
  if (const int error = ensure_running()) return fail(header.id, error);
  submit(header.id, request, sizeof request, {});
}

void signal(uint32_t id, int number) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = records.find(id);
  if (found == records.end()) return;
  if (number == SIGKILL) found->second.killed = true;
  send_signal(id, number);
}

void forget(Listener* listener) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (auto& [id, record] : records) {
    if (record.listener != listener) continue;
    record.listener = nullptr;
    if (record.detached || record.start_time) continue;
    record.killed = true;
    send_signal(id, SIGKILL);
  }
  const std::lock_guard<std::mutex> told(delivering);
}

void connect() {
  const std::lock_guard<std::mutex> lock(mutex);
  (void)ensure_running();
}

int launcher_pid() {
  const std::lock_guard<std::mutex> lock(mutex);
  return launcher.pid;
}

}  // namespace contained
