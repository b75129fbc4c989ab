// Theory of operation. One thread waits in epoll and reads what has an event; another opens and closes, since a PSI
// trigger that is closed and a v1 threshold that is registered wait for an RCU grace period (8 to 15 ms;
// psi_trigger_destroy, mem_cgroup_usage_register_event). Both start with the first watch and live as long as the
// process. A watch belongs to the map; whoever works on it meanwhile holds it too, so its fds are never closed under
// anybody. One mutex guards it all and is never held over a call that can block.
//
// kernfs wakes nobody who polls a file when its cgroup is removed (kernfs_generic_poll), so the removal is heard from
// the parent directory, by inotify; vfs_rmdir tells it. Nothing is lost at the start: a file is read before epoll has
// it, and whatever happened since then is an event at once (kernfs_generic_poll compares counts, an eventfd keeps its).
#include "watch.hpp"

#include "../ops/sys.hpp"
#include "thread.hpp"

#include <condition_variable>
#include <deque>
#include <limits.h>
#include <map>
#include <memory>
#include <mutex>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unordered_map>

namespace contained {

namespace {

using Place = std::pair<int, std::string>;  // a directory, by its inotify watch, and a name in it

struct Watch {
  uint32_t id;
  WatchListener* listener;
  WatchKind kind;
  std::string path, argument;
  sys::Fd file, eventfd;
  Place place;    // the opening thread's; -1: none
  bool in_epoll;  // the lock's

  int fd() const { return eventfd ? eventfd.get() : file.get(); }
};
using Held = std::shared_ptr<Watch>;

// Never destroyed: the threads still use them while a Node that exits runs destructors.
std::mutex& mutex = *new std::mutex;
std::condition_variable& has_work = *new std::condition_variable;
std::unordered_map<uint32_t, Held>& watches = *new std::unordered_map<uint32_t, Held>;
std::multimap<Place, uint32_t>& groups = *new std::multimap<Place, uint32_t>;
std::deque<Held>& to_open = *new std::deque<Held>;
std::deque<Held>& to_close = *new std::deque<Held>;
uint32_t last_id = 0;
int epoll_fd = -1, inotify_fd = -1;

constexpr uint64_t kInotify = 0;  // in epoll_event.data; no watch has this id

// Nothing of a watch that is still being opened: it is told first that it is open.
Held opened(uint32_t id) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = watches.find(id);
  return found == watches.end() || !found->second->in_epoll ? nullptr : found->second;
}

// With the lock held. Out of epoll at once: what is not read would wake the thread again and again.
void take_out(uint32_t id) {
  const auto found = watches.find(id);
  if (found == watches.end()) return;
  if (found->second->in_epoll) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, found->second->fd(), nullptr);
  to_close.push_back(std::move(found->second));
  watches.erase(found);
  has_work.notify_one();
}

void report(uint32_t id, WatchReport news) {
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = watches.find(id);
  if (found == watches.end()) return;
  WatchListener* const listener = found->second->listener;
  if (news.error) take_out(id);
  listener->hear(id, std::move(news));
}

// Reading also makes epoll wait for the next event: kernfs_seq_show.
int look(const Watch& watch, WatchReport* news) {
  char text[16 * 1024];
  news->step = "read";
  const ssize_t n = pread(watch.file.get(), text, sizeof text, 0);
  if (n > 0) news->text.assign(text, static_cast<size_t>(n));
  // memory.pressure_level cannot be read and says so; what is gone says ENODEV before anything else.
  return n < 0 && (errno == ENODEV || watch.kind == WatchKind::kFile) ? errno : 0;
}

int open_file(Watch& watch, const char** step) {
  *step = "open";
  const bool trigger = watch.kind == WatchKind::kPressure;
  watch.file.reset(open(watch.path.c_str(), (trigger ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!watch.file) return errno;
  if (!trigger) return 0;
  *step = "write";
  return sys::check(write(watch.file.get(), watch.argument.c_str(), watch.argument.size() + 1));
}

// Documentation/admin-guide/cgroup-v1/memory.rst, sections 9 to 11.
int register_eventfd(Watch& watch, const char** step) {
  *step = "eventfd";
  watch.eventfd.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!watch.eventfd) return errno;
  *step = "open";
  const std::string directory = watch.path.substr(0, watch.path.rfind('/') + 1);
  const sys::Fd control(open((directory + "cgroup.event_control").c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (!control) return errno;
  *step = "write";
  const std::string line = std::to_string(watch.eventfd.get()) + ' ' + std::to_string(watch.file.get()) + ' ' + watch.argument;
  return sys::check(write(control.get(), line.data(), line.size()));
}

// By the path that the open file really has: what was asked for may lead over symlinks. An eventfd and a trigger are
// woken by the removal itself, and so need no look at the parent.
int watch_parent(Watch& watch, const char** step) {
  *step = "readlink";
  char path[PATH_MAX];
  const ssize_t n = readlink(("/proc/self/fd/" + std::to_string(watch.file.get())).c_str(), path, sizeof path);
  if (n < 0) return errno;
  const std::string file(path, static_cast<size_t>(n));
  const size_t group = file.rfind('/');
  const size_t parent = group == 0 ? 0 : file.rfind('/', group - 1);
  *step = "inotify_add_watch";
  const int wd = inotify_add_watch(inotify_fd, file.substr(0, parent + 1).c_str(), IN_DELETE | IN_ONLYDIR);
  if (wd < 0) return errno;
  watch.place = {wd, file.substr(parent + 1, group - parent - 1)};
  const std::lock_guard<std::mutex> lock(mutex);
  groups.emplace(watch.place, watch.id);
  return 0;
}

// One inotify watch serves all groups of a directory. Only this thread adds and removes them.
void leave_parent(const Watch& watch) {
  const int wd = watch.place.first;
  if (wd < 0) return;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    for (auto [at, end] = groups.equal_range(watch.place); at != end; ++at) {
      if (at->second != watch.id) continue;
      groups.erase(at);
      break;
    }
    const auto other = groups.lower_bound({wd, ""});
    if (other != groups.end() && other->first.first == wd) return;
  }
  inotify_rm_watch(inotify_fd, wd);
}

// Told under the lock that epoll_ctl is under: no event can overtake it.
int start_waiting(Watch& watch, WatchReport* news) {
  news->step = "epoll_ctl";
  epoll_event event{};
  event.events = watch.eventfd ? EPOLLIN : EPOLLPRI;
  event.data.u64 = watch.id;
  const std::lock_guard<std::mutex> lock(mutex);
  if (!watches.count(watch.id)) return 0;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch.fd(), &event) < 0) return errno;
  watch.in_epoll = true;
  watch.listener->hear(watch.id, std::move(*news));
  return 0;
}

void open_watch(Watch& watch) {
  WatchReport news;
  news.opened = true;
  news.events = watch.kind == WatchKind::kFile ? 1 : 0;
  int error = open_file(watch, &news.step);
  if (!error && watch.kind == WatchKind::kEventfd) error = register_eventfd(watch, &news.step);
  if (!error && watch.kind == WatchKind::kFile) error = watch_parent(watch, &news.step);
  if (!error) error = look(watch, &news);
  if (!error) error = start_waiting(watch, &news);
  if (error) report(watch.id, {false, 0, {}, error, news.step});
}

void on_event(uint32_t id) {
  const Held watch = opened(id);
  if (!watch) return;
  WatchReport news;
  news.events = 1;
  if (watch->eventfd && read(watch->eventfd.get(), &news.events, sizeof news.events) < 0) return;
  news.error = look(*watch, &news);
  report(id, std::move(news));
}

void on_removals() {
  // Names in kernfs are as long as a path; an event that does not fit would stay and be told of for ever.
  alignas(inotify_event) char buffer[16384];
  const ssize_t n = read(inotify_fd, buffer, sizeof buffer);
  std::deque<uint32_t> concerned;
  for (ssize_t at = 0; at < n;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
    at += static_cast<ssize_t>(sizeof *event + event->len);
    const std::lock_guard<std::mutex> lock(mutex);
    if (event->mask & IN_Q_OVERFLOW)
      for (const auto& [place, id] : groups) concerned.push_back(id);
    if (event->len == 0) continue;
    for (auto [group, end] = groups.equal_range({event->wd, event->name}); group != end; ++group)
      concerned.push_back(group->second);
  }
  for (const uint32_t id : concerned) on_event(id);
}

[[noreturn]] void* wait_thread(void*) {
  for (;;) {
    epoll_event events[64];
    const int n = epoll_wait(epoll_fd, events, 64, -1);
    for (int i = 0; i < n; ++i) {
      if (events[i].data.u64 == kInotify) on_removals();
      else on_event(static_cast<uint32_t>(events[i].data.u64));
    }
  }
}

[[noreturn]] void* open_thread(void*) {
  for (;;) {
    std::unique_lock<std::mutex> lock(mutex);
    has_work.wait(lock, [] { return !to_open.empty() || !to_close.empty(); });
    // Opening first: somebody waits for it.
    std::deque<Held>& work = to_open.empty() ? to_close : to_open;
    const bool opens = &work == &to_open;
    const Held watch = std::move(work.front());
    work.pop_front();
    lock.unlock();
    if (opens) open_watch(*watch);
    else leave_parent(*watch);
  }
}

int start(void* (*body)(void*), bool* started) {
  const int error = *started ? 0 : start_thread(body);
  *started = !error;
  return error;
}

int ensure_running() {
  static bool waits = false, opens = false;
  if (waits && opens) return 0;
  if (epoll_fd < 0) {
    sys::Fd epoll(epoll_create1(EPOLL_CLOEXEC));
    sys::Fd inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kInotify;
    if (!epoll || !inotify || epoll_ctl(epoll.get(), EPOLL_CTL_ADD, inotify.get(), &event) < 0) return errno;
    epoll_fd = epoll.release();
    inotify_fd = inotify.release();
  }
  if (const int error = start(wait_thread, &waits)) return error;
  return start(open_thread, &opens);
}

}  // namespace

uint32_t watch(WatchListener* listener, WatchKind kind, std::string path, std::string argument) {
  const std::lock_guard<std::mutex> lock(mutex);
  const uint32_t id = ++last_id;
  if (const int error = ensure_running()) {
    listener->hear(id, {false, 0, {}, error, "pthread_create"});
    return id;
  }
  const auto made = std::make_shared<Watch>(Watch{id, listener, kind, std::move(path), std::move(argument), {}, {}, {-1, ""}, false});
  watches.emplace(id, made);
  to_open.push_back(made);
  has_work.notify_one();
  return id;
}

void unwatch(uint32_t id) {
  const std::lock_guard<std::mutex> lock(mutex);
  take_out(id);
}

void unwatch_all(WatchListener* listener) {
  const std::lock_guard<std::mutex> lock(mutex);
  std::deque<uint32_t> ids;
  for (const auto& [id, watch] : watches)
    if (watch->listener == listener) ids.push_back(id);
  for (const uint32_t id : ids) take_out(id);
}

}  // namespace contained
