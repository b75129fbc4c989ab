// Waits for what the kernel tells of a cgroup, on threads of its own.
#pragma once

#include <stdint.h>
#include <string>

namespace contained {

enum class WatchKind : uint32_t {
  kFile,      // a file that notifies, as cgroup.events
  kPressure,  // a *.pressure file; the argument is the trigger
  kEventfd,   // cgroup v1: a file that cgroup.event_control knows; the argument is what it wants for the file
};

// What is new of a watch. Several of them can be added up: see WatchListener.
struct WatchReport {
  bool opened = false;
  uint64_t events = 0;
  std::string text;  // the file, as it was read after the last event; what cannot be read is empty
  int error = 0;     // the watch has ended. ENODEV by `read`: the file is no more
  const char* step = "";
};

// One per Node environment. Called on a thread of the watches, with their lock held: it must not call back.
class WatchListener {
 public:
  virtual void hear(uint32_t id, WatchReport report) = 0;

 protected:
  ~WatchListener() = default;
};

// None of these three blocks. Everything that opening leads to, failures too, is reported.
uint32_t watch(WatchListener* listener, WatchKind kind, std::string path, std::string argument);
void unwatch(uint32_t id);
// The listener is going away: so are its watches.
void unwatch_all(WatchListener* listener);

}  // namespace contained
