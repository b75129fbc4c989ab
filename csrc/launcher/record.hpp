// What other processes can learn of a container: files in a directory of its own.
#pragma once

#include "../ops/sys.hpp"

#include <stdint.h>
#include <sys/types.h>

namespace contained {

// What a detached container writes, kept in two files of which the older is dropped: `log` and `log.1`.
class Log {
 public:
  ~Log();
  // Makes two pipes, and returns 0 and the ends to write to, or an errno.
  int open(const char* path, uint64_t most, int (*ret)[2]);
  // Goes on where a launcher that was killed has stopped. The sources are owned from then on.
  void resume(const char* path, uint64_t most, const int (&sources)[2]);
  // Takes over what there is to read, 64 KiB at most, as read(2) does.
  ssize_t take(int stream);
  // The same for all that is left.
  void finish();
  int source(int stream) const { return sources_[stream].get(); }
  void close(int stream) { sources_[stream].reset(); }

 private:
  void append(uint32_t stream, const char* bytes, uint32_t size);
  void turn_over();
  void open_next();

  sys::Fd file_, sources_[2];
  char* path_ = nullptr;
  uint64_t size_ = 0, most_ = 0;
};

}  // namespace contained
