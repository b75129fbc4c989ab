#include "process.hpp"

#include "sys.hpp"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace contained {

namespace {

// From the name on, in which there may be spaces and parentheses; null when there is no such process.
const char* read_stat(pid_t pid, char* text, size_t size) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  return sys::read_file(AT_FDCWD, path, text, size) < 0 ? nullptr : strrchr(text, ')');
}

// By its number in proc_pid_stat(5); 0 when it is not there.
uint64_t stat_field(const char* stat, int number) {
  for (int i = 2; stat && i < number; ++i) stat = strchr(stat + 1, ' ');
  return stat ? strtoull(stat + 1, nullptr, 10) : 0;
}

// linux/sched.h: forked, but has not executed; getting shut down.
constexpr uint64_t kForkNoExec = 0x40, kExiting = 0x4;

}  // namespace

uint64_t start_time(pid_t pid) {
  char text[1024];
  return stat_field(read_stat(pid, text, sizeof text), 22);
}

bool has_executed(pid_t pid) {
  char text[1024];
  const char* stat = read_stat(pid, text, sizeof text);
  return !stat || !(stat_field(stat, 9) & kForkNoExec);
}

bool is_on_its_way_out(pid_t pid) {
  char text[1024];
  const char* stat = read_stat(pid, text, sizeof text);
  return stat && (stat[2] == 't' || stat_field(stat, 9) & kExiting);
}

int wait_status(const siginfo_t& info) { return info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status & 0x7f; }

int ending_of(pid_t pid, int pidfd, rusage* usage) {
  char text[1024];
  const char* stat = read_stat(pid, text, sizeof text);
  if (stat && stat[2] == 'Z') {
    const auto time = [&](int own) {
      const uint64_t ticks = stat_field(stat, own) + stat_field(stat, own + 2);  // and of the children that it waited for
      const uint64_t us = ticks * 1000000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
      return timeval{static_cast<time_t>(us / 1000000), static_cast<suseconds_t>(us % 1000000)};
    };
    usage->ru_utime = time(14);
    usage->ru_stime = time(15);
    return static_cast<int>(stat_field(stat, 52));
  }
  // Its parent has been quicker, or is about to be. Since Linux 6.15 a pidfd goes on telling: PIDFD_GET_INFO.
  sys::PidfdInfo info;
  for (int tries = 0; sys::pidfd_get_info(pidfd, &info) == 0 && tries < 2; ++tries) {
    if (info.mask & sys::kPidfdInfoExit) return info.exit_code;
    pollfd reaped{pidfd, 0, 0};
    poll(&reaped, 1, 50);
  }
  return -1;
}

}  // namespace contained
