#include "acts.hpp"
#include "sys.hpp"

#include <string.h>

namespace contained {

// A cpu mask as in /proc/PID/status Cpus_allowed: hexadecimal, the highest cpu first.
int set_affinity(const char* hex) {
  uint8_t mask[128] = {};  // 1024 cpus, as glibc's cpu_set_t
  const size_t digits = strlen(hex);
  if (digits > 2 * sizeof mask) return EINVAL;
  for (size_t i = 0; i < digits; ++i) {
    const char c = hex[digits - 1 - i];
    const unsigned value = static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    mask[i / 2] = static_cast<uint8_t>(mask[i / 2] | value << (i % 2 ? 4 : 0));
  }
  return sys::check(syscall(SYS_sched_setaffinity, 0, sizeof mask, mask));
}

}  // namespace contained
