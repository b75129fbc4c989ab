#include "reaper.hpp"

#include "../ops/held.hpp"
#include "../ops/process.hpp"

#include <chrono>
#include <sys/wait.h>
#include <unordered_set>

namespace contained {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Waiting {
  pid_t pid;
  Event* event;
  Clock::time_point since = Clock::now();
};

std::vector<Waiting>& waiting = *new std::vector<Waiting>;

constexpr milliseconds kPause{10};
constexpr milliseconds kCourtesy{500};   // for a tracer that is only slow; then it is killed
constexpr milliseconds kPatience{1000};  // after that it is told what /proc tells

// False: it has not ended, or its tracer has not taken notice.
bool try_reap(pid_t pid, int flags, Ending* ret) {
  siginfo_t info{};
  // The status stays unknown when somebody else's waitpid(-1), or an ignored SIGCHLD, has taken it.
  if (pid <= 0 || syscall(SYS_waitid, P_PID, pid, &info, WEXITED | __WALL | flags, &ret->usage) < 0) return true;
  if (info.si_pid == 0) return false;
  ret->status = wait_status(info);
  return true;
}

void tell(Event* event, const Ending& ending) {
  if (!event) return;
  event->ending = ending;
  conclude(event);
}

}  // namespace

Ending reap(pid_t pid) {
  Ending ret;
  try_reap(pid, 0, &ret);
  return ret;
}

void reap(pid_t pid, Event* event) {
  Ending ending;
  if (try_reap(pid, WNOHANG, &ending)) tell(event, ending);
  else waiting.push_back({pid, event});
}

int reap_rest() {
  bool soon = false;
  for (size_t i = 0; i < waiting.size();) {
    Waiting& one = waiting[i];
    Ending ending;
    const bool reaped = try_reap(one.pid, WNOHANG, &ending);
    const Clock::duration waited = Clock::now() - one.since;
    const bool late = waited >= kPatience;
    if (!reaped && one.event) waited < kCourtesy ? reap_threads(one.pid) : (void)free_held(one.pid);
    if (!reaped && late && one.event) ending.status = ending_of(one.pid, -1, &ending.usage);
    Event* const event = reaped || late ? one.event : nullptr;
    if (event) one.event = nullptr;
    soon |= !reaped && !late;
    if (reaped) waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(i));
    else ++i;
    tell(event, ending);
  }
  return static_cast<int>(waiting.empty() ? -1 : soon ? kPause.count() : kPatience.count());
}

std::vector<pid_t> zombies() {
  std::vector<pid_t> ret;
  for_each_zombie([](pid_t pid, void* data) { static_cast<std::vector<pid_t>*>(data)->push_back(pid); }, &ret);
  std::unordered_set<pid_t> waits;
  for (const Waiting& one : waiting) waits.insert(one.pid);
  std::erase_if(ret, [&](pid_t pid) { return waits.contains(pid); });
  return ret;
}

void reap_later(pid_t pid) { waiting.push_back({pid, nullptr}); }

}  // namespace contained
