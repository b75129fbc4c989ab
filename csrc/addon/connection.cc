// Theory of operation. Requests are sent by whoever makes them, at once, on the calling thread (3 µs); what does not
// fit into the socket is queued for the connection's thread. That thread is started with the first request and lives as
// long as the process: it starts the launcher, hears what it reports, reaps the contained processes (they are its
// children, reaper.cc), and starts another launcher when one is killed.
#include "connection.hpp"

#include "../ops/rights.hpp"
#include "reaper.hpp"
#include "records.hpp"
#include "start.hpp"
#include "thread.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

namespace contained {

namespace {

struct Waiting {
  uint32_t id;
  std::vector<uint8_t> bytes;
  std::vector<Attached> fds;
};

// Never destroyed: the thread still uses them while a Node that exits runs destructors.
std::deque<Waiting>& queue = *new std::deque<Waiting>;    // requests that could not be sent at once
std::deque<Waiting>& signals = *new std::deque<Waiting>;  // to containers that are known there: they wait for nobody else
Started& launcher = *new Started;
Ledger* previous = nullptr;  // of a launcher that has ended, until there is another
bool running = false;  // the thread
sys::Fd& launcher_end = *new sys::Fd;  // a pidfd
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
  mark_sent(id);
}

// What passes by itself; EPIPE and ECONNRESET when there is another launcher.
bool is_transient(int error) {
  switch (error) {
    case EAGAIN: case EINTR: case ENOBUFS: case ENOMEM: case ETOOMANYREFS: case EPIPE: case ECONNRESET: return true;
    default: return false;
  }
}

void flush(std::deque<Waiting>& waiting) {
  while (!waiting.empty()) {
    Waiting& packet = waiting.front();
    const int error = try_send(packet.bytes.data(), packet.bytes.size(), packet.fds);
    if (is_transient(error)) return;
    close_owned(packet.fds);
    if (error) fail(packet.id, error);
    else mark_sent(packet.id);
    waiting.pop_front();
  }
}

void send_signal(uint32_t id, int number) {
  Header header{};
  header.request = Request::kSignal;
  header.id = id;
  header.cgroup_slot = -1;
  header.signal = number;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
  const Record* const record = find_record(id);
  if (!record || !record->sent) return submit(0, bytes, sizeof header, {});
  if (signals.empty() && try_send(bytes, sizeof header, {}) == 0) return;
  signals.push_back({0, {bytes, bytes + sizeof header}, {}});
  wake();
}

bool has_signal(const std::deque<Waiting>& waiting) {
  return std::any_of(waiting.begin(), waiting.end(), [](const Waiting& packet) { return reinterpret_cast<const Header*>(packet.bytes.data())->request == Request::kSignal; });
}

void send_kill(uint32_t id) { send_signal(id, SIGKILL); }

// To the launcher that takes over; what was still queued is simply sent, after that, but for what told the one before of
// containers that it was to take over.
void introduce(const Ledger& ledger) {
  std::deque<Waiting> waiting;
  waiting.swap(queue);
  hand_over(ledger, submit, send_kill);
  for (Waiting& packet : waiting) {
    const Record* const record = find_record(packet.id);
    if (packet.id == 0 || (record && !record->sent)) queue.push_back(std::move(packet));
    else close_owned(packet.fds);
  }
  // They must not be there before whom they are for.
  for (Waiting& packet : signals) queue.push_back(std::move(packet));
  signals.clear();
}

// Nothing can be started: everything that waits fails with the reason.
void give_up(int error) {
  for (Waiting& packet : queue) close_owned(packet.fds);
  queue.clear();
  signals.clear();
  fail_all(error);
}

void listen_to(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

void restart() {
  Started old;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    old = std::move(launcher);
    launcher = Started();
  }
  // A fork that has not executed yet may have copies: epoll(7).
  for (const int fd : {old.socket.get(), launcher_end.get()})
    if (fd >= 0) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, nullptr);
  launcher_end.reset();
  reap(old.pid);
  if (old.ledger) previous = old.ledger;
  Started fresh = start_launcher();  // meanwhile requests are queued
  // Where there are containers that run, who is to watch them is worth a while.
  for (int tries = 0; old.ledger && !fresh.socket && tries < 20; ++tries) {
    usleep(50'000);
    fresh = start_launcher();
  }

  const std::lock_guard<std::mutex> lock(mutex);
  launcher = std::move(fresh);
  if (launcher.socket) {
    launcher_end.reset(static_cast<int>(syscall(SYS_pidfd_open, launcher.pid, 0)));
    listen_to(launcher.socket.get());
    listen_to(launcher_end.get());
    if (previous) {
      introduce(*previous);
      munmap(previous, sizeof(Ledger));
      previous = nullptr;
    }
  } else {
    give_up(launcher.error);
  }
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
    if (static_cast<size_t>(n) >= sizeof(Message)) on_message(packet, static_cast<size_t>(n), attached, *launcher.ledger, launcher.pid);
  }
}

constexpr int kRound = 1000;  // milliseconds

bool round_is_due() {
  using Clock = std::chrono::steady_clock;
  static Clock::time_point last;
  const Clock::time_point now = Clock::now();
  if (now - last < std::chrono::milliseconds(kRound)) return false;
  last = now;
  return true;
}

[[noreturn]] void listen() {
  listen_to(wake_fd);
  restart();
  for (;;) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      flush(signals);
      flush(queue);
    }
    // What the launcher reports tells that it has also read. A watch for room in the socket would wake this thread
    // for every request, and ETOOMANYREFS has no event of its own; so a queue that does not move is looked at again.
    epoll_event event;
    mutex.lock();
    const bool idle = queue.empty() && signals.empty();
    mutex.unlock();
    const int rest = reap_rest();
    // What ends by itself may be held up, too: that is looked for once in a while.
    const int patience = !idle ? 10 : rest >= 0 ? rest : any_records() ? kRound : -1;
    if (launcher.ledger && round_is_due()) free_all(*launcher.ledger, launcher.pid);
    const int n = epoll_wait(epoll_fd, &event, 1, patience);
    if (n == 1 && event.data.fd == wake_fd) {
      uint64_t count;
      (void)!read(wake_fd, &count, sizeof count);
      if (!launcher.socket) restart();
    } else if (n == 1) {
      // Its socket ends later where a child of its that is frozen has a copy.
      const bool ended = event.data.fd == launcher_end.get();
      if (!hear_all() || ended) restart();
    }
  }
}

void* listen_thread(void*) { listen(); }

// Whoever sends a signal and ends at once means it to arrive, also where the launcher has yet to be started.
void send_last_signals() {
  std::unique_lock<std::mutex> lock(mutex);
  for (int left = 1000; left > 0 && (has_signal(queue) || has_signal(signals)); --left) {
    lock.unlock();
    usleep(1000);
    lock.lock();
  }
}

// An errno when there can be no thread.
int ensure_running() {
  if (running) return 0;
  if (wake_fd < 0) wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) return errno;
  if (epoll_fd < 0) epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return errno;
  const int error = start_thread(listen_thread);
  running = !error;
  if (running) atexit(send_last_signals);  // process.exit() calls no hook of an environment's
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
  Record& record = add_record(header.id, {listener, {undo, request + size}, outside, header.clone_flags, program.counts[kJoin] > 0, init});
  record.detached = header.flags & kDetached;
  if (const int error = ensure_running()) {
    close_owned(fds);
    return fail(header.id, error);
  }
  Header small;
  if (size <= kPacket) return submit(header.id, request, size, std::move(fds));
  if (const int error = move_to_memfd(request, size, &small, &fds)) {
    close_owned(fds);
    return fail(header.id, error);
  }
  submit(header.id, reinterpret_cast<const uint8_t*>(&small), sizeof small, std::move(fds));
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
  add_record(header.id, std::move(record));
  if (const int error = ensure_running()) return fail(header.id, error);
  submit(header.id, request, sizeof request, {});
}

void signal(uint32_t id, int number) {
  const std::lock_guard<std::mutex> lock(mutex);
  Record* const record = find_record(id);
  if (!record) return;
  if (number == SIGKILL) record->killed = true;
  send_signal(id, number);
}

void forget(Listener* listener) {
  const std::lock_guard<std::mutex> lock(mutex);
  forget_listener(listener, send_kill);
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
