// The launcher: the one process between Node and the containers.
//
// Theory of operation. Node forks slowly, and a copy of Node must never enter a container (CVE-2019-5736), so it starts
// this small program once, from a sealed memfd, and sends it programs (program.hpp) over a socket. For each the launcher
// does the `host` ops, clones a sibling of itself (CLONE_PARENT: the contained process is Node's child, and Node reaps
// it), does the `release` ops, and lets it go. It is told of the execve by the end of a channel that only the child
// holds, and of the exit by a pidfd; then it does the `undo` ops and reports. It is also the janitor: when its socket
// ends, Node is gone, so it kills every container that is not detached, undoes everything, and exits with the last. If it is killed itself, Node starts
// another and hands over the undo lists.
//
// One thread, one epoll loop. Nothing in it may block for long: whatever can hang (a mount, a file system) is done by
// the child.
#include "container.hpp"
#include "reports.hpp"
#include "../ops/held.hpp"
#include "../ops/rights.hpp"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

namespace contained {

namespace {

constexpr size_t kBuckets = 256;
constexpr uintptr_t kSourceMask = 7;  // of a pointer to a container, which malloc has aligned

int epoll_fd;
Ledger* shared;
Container* buckets[kBuckets];
uint32_t live;
bool orphaned;
int unsettled;  // why nothing can be started
alignas(8) char packet[kPacket];

}  // namespace

Ledger::Entry& ledger(uint32_t id) { return shared->entries[id % kLedger]; }

void share_ledger(bool share) { madvise(shared, sizeof(Ledger), share ? MADV_DOFORK : MADV_DONTFORK); }

uint64_t milliseconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000 + static_cast<uint64_t>(time.tv_nsec) / 1000000;
}

Container* find(uint32_t id) {
  Container* at = buckets[id % kBuckets];
  while (at && at->id() != id) at = at->next;
  return at;
}

void watch(int fd, Container* container, Source source) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = reinterpret_cast<uintptr_t>(container) | static_cast<uintptr_t>(source);
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

void unwatch(int fd) { epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, nullptr); }

void watch_room(bool watch) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | (watch ? EPOLLOUT : 0u);
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, kSocket, &event);
}

namespace {

void add(Container* container) {
  Container*& bucket = buckets[container->id() % kBuckets];
  container->next = bucket;
  bucket = container;
  ++live;
}

void remove(Container* container) {
  Container** at = &buckets[container->id() % kBuckets];
  while (*at != container) at = &(*at)->next;
  *at = container->next;
  --live;
  delete container;
}

template <typename F>
void for_each(F act) {
  for (Container* bucket : buckets)
    for (Container *at = bucket, *next; at; at = next) {
      next = at->next;
      act(at);
    }
}

}  // namespace

void reap_strangers() {
  for_each_zombie([](pid_t pid, void*) {
    bool known = false;
    for_each([&](Container* at) { known |= at->has(pid); });
    if (!known) syscall(SYS_waitid, P_PID, pid, nullptr, WEXITED | WNOHANG | __WALL, nullptr);
  }, nullptr);
}

void for_each_guest(uint32_t host, void (*act)(Container&)) {
  for_each([&](Container* at) {
    if (at->host() == host) act(*at);
  });
}

namespace {

void obey(const char* message, const int* fds, int count) {
  const Header& header = *reinterpret_cast<const Header*>(message);
  const Section& first = *reinterpret_cast<const Section*>(message + sizeof header);
  switch (header.request) {
    case Request::kSpawn: {
      const Section& undo = *reinterpret_cast<const Section*>(first.base() + first.size);
      Container* container = new Container(header, undo);
      add(container);
      if (unsettled) {
        for (int i = 0; i < count; ++i) close(fds[i]);
        return container->refuse(unsettled);
      }
      return container->spawn(header, first, fds, count);
    }
    case Request::kAdopt: {
      Container* container = new Container(header, first);
      add(container);
      return container->adopt(header, fds, count);
    }
    case Request::kWatch: {
      Container* container = new Container(header, first);
      add(container);
      return container->attend(header);
    }
    case Request::kSignal:
      if (Container* container = find(header.id)) container->signal(header.signal);
      return;
  }
}

// A request that did not fit into a packet is read from its memfd.
void obey_memfd(int* fds, int count) {
  if (count == 0) return;
  const sys::Fd memfd(fds[count - 1]);
  struct stat found;
  if (fstat(memfd.get(), &found) < 0) return;
  const size_t size = static_cast<size_t>(found.st_size);
  void* message = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, memfd.get(), 0);
  if (message == MAP_FAILED) abort();
  obey(static_cast<const char*>(message), fds, count - 1);
  munmap(message, size);
}

// There was no room for all the descriptors of the request, and what did not fit is lost: unix(7), MSG_CTRUNC.
void refuse(const int* fds, int count) {
  for (int i = 0; i < count; ++i) close(fds[i]);
  static const Section nothing{sizeof nothing, {}};
  Container* container = new Container(*reinterpret_cast<const Header*>(packet), nothing);
  add(container);
  container->refuse(EMFILE);
}

// It is better watched without its log than not at all.
void adopt_without(const int* fds, int count) {
  for (int i = 0; i < count; ++i) close(fds[i]);
  obey(packet, nullptr, 0);
}

// One request; false when Node is gone.
bool receive() {
  int fds[kAttached];
  const sys::Received got = sys::receive_rights(kSocket, packet, sizeof packet, fds, kAttached, MSG_DONTWAIT);
  const ssize_t n = got.size;
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return false;
  const int count = static_cast<int>(got.count);
  if (static_cast<size_t>(n) < sizeof(Header)) return true;
  if (got.truncated && reinterpret_cast<const Header*>(packet)->request == Request::kAdopt) adopt_without(fds, count);
  else if (got.truncated) refuse(fds, count);
  else if (reinterpret_cast<const Header*>(packet)->flags & kMemfd) obey_memfd(fds, count);
  else obey(packet, fds, count);
  // The next child is a copy of us, and has no business with the environment of this one.
  explicit_bzero(packet, static_cast<size_t>(n));
  return true;
}

// What Node has said last. Nothing is started any more, but those that outlive it get their signals.
void take_last_signals() {
  int fds[kAttached];
  for (;;) {
    const sys::Received got = sys::receive_rights(kSocket, packet, sizeof packet, fds, kAttached, MSG_DONTWAIT);
    // ECONNRESET, once: Node has not heard all that we had to say: unix(7).
    if (got.size < 0 && (errno == EINTR || errno == ECONNRESET)) continue;
    if (got.size <= 0) return;
    for (size_t i = 0; i < got.count; ++i) close(fds[i]);
    if (static_cast<size_t>(got.size) < sizeof(Header)) continue;
    const Request request = reinterpret_cast<const Header*>(packet)->request;
    if (request == Request::kWatch || request == Request::kSignal) obey(packet, nullptr, 0);
  }
}

void lose_node() {
  take_last_signals();
  orphaned = true;
  drop_reports();
  unwatch(kSocket);
  close(kSocket);
  for_each([](Container* container) {
    if (container->lose_node()) remove(container);
  });
}

// Does what is due; returns how long to sleep for the rest.
int tend_all() {
  int wait = -1;
  if (Container::timers == 0) return wait;
  const uint64_t now = milliseconds();
  for_each([&](Container* container) {
    if (container->due() <= now && !container->undoing()) container->look_again();
    if (container->due() <= now && container->undoing() && container->undo_on(now)) return remove(container);
    const uint64_t due = container->due();
    if (due == ~uint64_t{0}) return;
    const int left = static_cast<int>(due > now ? due - now : 0);
    if (wait < 0 || left < wait) wait = left;
  });
  return wait;
}

// Of two times to sleep; -1 is for ever.
int sooner(int a, int b) { return a < 0 || (b >= 0 && b < a) ? b : a; }

void heed(const epoll_event& event) {
  auto* const container = reinterpret_cast<Container*>(event.data.u64 & ~kSourceMask);
  if (!container) {
    if ((event.events & (EPOLLHUP | EPOLLRDHUP)) || ((event.events & EPOLLIN) && !receive())) lose_node();
    return;
  }
  switch (static_cast<Source>(event.data.u64 & kSourceMask)) {
    case Source::kPidfd: container->on_exit(); break;
    case Source::kChannel: container->on_channel(); break;
    case Source::kOutput: container->on_log(0); break;
    case Source::kErrors: container->on_log(1); break;
    case Source::kHelper: container->reap_helper(); break;
  }
}

int run() {
  unsettled = settle();
  void* const memory = mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED, kShared, 0);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (memory == MAP_FAILED || epoll_fd < 0) return 1;
  madvise(memory, sizeof(Ledger), MADV_DONTFORK);
  shared = static_cast<Ledger*>(memory);
  close(kShared);
  epoll_event socket_event{};
  socket_event.events = EPOLLIN | EPOLLRDHUP;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, kSocket, &socket_event);

  int wait = -1;
  while (!(orphaned && live == 0)) {
    epoll_event event;
    if (epoll_wait(epoll_fd, &event, 1, wait) == 1) heed(event);
    wait = tend_all();
    // After that: what could not be told just now is among what is kept.
    wait = sooner(wait, flush_reports());
  }
  return 0;
}

}  // namespace
}  // namespace contained

// libstdc++'s would bring its exceptions along, ten times the size of the rest.
void* operator new(size_t size) {
  void* const memory = malloc(size);
  if (!memory) abort();
  return memory;
}
void operator delete(void* memory) noexcept { free(memory); }
void operator delete(void* memory, size_t) noexcept { free(memory); }

int main() { return contained::run(); }
