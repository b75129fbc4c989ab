// Theory of operation. Requests are sent by whoever makes them, at once, on the calling thread (3 µs); what does not
// fit into the socket is queued for the connection's thread. That thread is started with the first request and lives as
// long as the process: it starts the launcher, hears what it reports, reaps the contained processes (they are its
// children, records.cc), and starts another launcher when one is killed.
#include "connection.hpp"

#include "../ops/rights.hpp"
#include "records.hpp"
#include "start.hpp"
#include "thread.hpp"

#include <deque>
#include <fcntl.h>
#include <signal.h>
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

void flush() {
  while (!queue.empty()) {
    Waiting& packet = queue.front();
    const int error = try_send(packet.bytes.data(), packet.bytes.size(), packet.fds);
    if (error && error != EBADF) return;
    close_owned(packet.fds);
    if (error) fail(packet.id, error);
    else mark_sent(packet.id);
    queue.pop_front();
  }
}

void send_signal(uint32_t id, int number) {
  Header header{};
  header.request = Request::kSignal;
  header.id = id;
  header.cgroup_slot = -1;
  header.signal = number;
  submit(0, reinterpret_cast<const uint8_t*>(&header), sizeof header, {});
}

void send_kill(uint32_t id) { send_signal(id, SIGKILL); }

// To the launcher that takes over; what was still queued is simply sent, after that.
void introduce(const Ledger& ledger) {
  std::deque<Waiting> waiting;
  waiting.swap(queue);
  hand_over(ledger, submit, send_kill);
  for (Waiting& packet : waiting) queue.push_back(std::move(packet));
}

// Nothing can be started: everything that waits fails with the reason.
void give_up(int error) {
  for (Waiting& packet : queue) close_owned(packet.fds);
  queue.clear();
  fail_all(error);
}

void restart() {
  Started old;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    old = std::move(launcher);
    launcher = Started();
  }
  reap(old.pid);
  Started fresh = start_launcher();  // meanwhile requests are queued

  const std::lock_guard<std::mutex> lock(mutex);
  launcher = std::move(fresh);
  if (launcher.socket) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = launcher.socket.get();
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, launcher.socket.get(), &event);
    if (old.ledger) introduce(*old.ledger);
  } else {
    give_up(launcher.error);
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
  Record& record = add_record(header.id, {listener, {undo, request + size}, outside, header.clone_flags, program.counts[kJoin] > 0, init});
  record.detached = header.flags & kDetached;
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
