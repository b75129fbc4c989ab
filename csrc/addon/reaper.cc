#include "reaper.hpp"

#include "../ops/held.hpp"
#include "../ops/process.hpp"

#include <algorithm>
#include <sys/wait.h>

namespace contained {

namespace {

struct Waiting {
  pid_t pid;
  Event* event;
  int tries;
};

std::vector<Waiting>& waiting = *new std::vector<Waiting>;

constexpr int kPause = 10, kTries = 100;  // milliseconds; then it is told what /proc tells

// False: it has not ended, or its tracer has not taken notice.
bool try_reap(pid_t pid, int flags, Ending* ret) {
  siginfo_t info{};
  // The status stays unknown when somebody else's waitpid(-1), or an ignored SIGCHLD, has taken it.
  if (pid <= 0 || syscall(SYS_waitid, P_PID, pid, &info, WEXITED | __WALL | flags, &ret->usage) < 0) return true;
  if (info.si_pid == 0) return false;
  ret->status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status & 0x7f;
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
  else waiting.push_back({pid, event, 0});
}

int reap_rest() {
  for (size_t i = 0; i < waiting.size();) {
    Waiting& one = waiting[i];
    Ending ending;
    const bool reaped = try_reap(one.pid, WNOHANG, &ending);
    if (!reaped && one.event) free_held(one.pid);
    const bool told = reaped || ++one.tries == kTries;
    if (!reaped && told && one.event) ending.status = ending_of(one.pid, -1, &ending.usage);
    Event* const event = told ? one.event : nullptr;
    if (told) one.event = nullptr;
    if (reaped) waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(i));
    else ++i;
    tell(event, ending);
  }
  const bool soon = std::any_of(waiting.begin(), waiting.end(), [](const Waiting& one) { return one.tries < kTries; });
  return waiting.empty() ? -1 : soon ? kPause : kPause * 100;
}

std::vector<pid_t> zombies() {
  std::vector<pid_t> ret(256);
  ret.resize(static_cast<size_t>(zombie_children(ret.data(), static_cast<int>(ret.size()))));
  std::erase_if(ret, [](pid_t pid) { return std::any_of(waiting.begin(), waiting.end(), [&](const Waiting& one) { return one.pid == pid; }); });
  return ret;
}

void reap_later(pid_t pid) { waiting.push_back({pid, nullptr, 0}); }

}  // namespace contained
