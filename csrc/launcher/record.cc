#include "container.hpp"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

namespace contained {

namespace {

// Whoever reads it sees all of it or nothing.
void write_whole(const char* directory, const char* name, const char* text, size_t size) {
  char temporary[PATH_MAX], path[PATH_MAX];
  snprintf(temporary, sizeof temporary, "%s/%s.new", directory, name);
  snprintf(path, sizeof path, "%s/%s", directory, name);
  const sys::Fd fd(open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd || write(fd.get(), text, size) != static_cast<ssize_t>(size)) return;
  rename(temporary, path);
}

// There are only files in it.
void remove_directory(const char* path) {
  DIR* directory = opendir(path);
  if (!directory) return;
  while (const dirent* entry = readdir(directory)) unlinkat(dirfd(directory), entry->d_name, 0);
  closedir(directory);
  rmdir(path);
}

// A record of the log: what follows is `size` bytes that were read from that stream at that time.
struct Stamp {
  uint64_t nanoseconds;  // since 1970
  uint32_t stream;       // 1: standard output, 2: standard error
  uint32_t size;
};

}  // namespace

uint64_t start_time(pid_t pid) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  if (sys::read_file(AT_FDCWD, path, text, sizeof text) < 0) return 0;
  const char* at = strrchr(text, ')');
  for (int i = 0; at && i < 20; ++i) at = strchr(at + 1, ' ');
  return at ? strtoull(at + 1, nullptr, 10) : 0;
}

Log::~Log() { free(path_); }

int Log::open(const char* path, uint64_t most, int (*ret)[2]) {
  int out[2], errors[2];
  path_ = strdup(path);
  most_ = most;
  file_.reset(::open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!path_ || !file_ || pipe2(out, O_CLOEXEC) < 0) return errno;
  sources_[0].reset(out[0]);
  if (pipe2(errors, O_CLOEXEC) < 0) {
    const int error = errno;
    ::close(out[1]);
    return error;
  }
  sources_[1].reset(errors[0]);
  for (const sys::Fd& source : sources_) fcntl(source.get(), F_SETFL, O_NONBLOCK);
  (*ret)[0] = out[1];
  (*ret)[1] = errors[1];
  return 0;
}

ssize_t Log::take(int stream) {
  static char bytes[65536];
  const ssize_t n = read(sources_[stream].get(), bytes, sizeof bytes);
  if (n > 0) append(static_cast<uint32_t>(stream) + 1, bytes, static_cast<uint32_t>(n));
  return n;
}

void Log::finish() {
  constexpr int kMost = 64;  // more than a pipe holds: somebody outside of the container has its end
  for (int stream = 0; stream < 2; ++stream)
    for (int i = 0; sources_[stream] && i < kMost && take(stream) > 0; ++i) {
    }
}

void Log::append(uint32_t stream, const char* bytes, uint32_t size) {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  Stamp stamp{static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec), stream, size};
  if (size_ + sizeof stamp + size > most_ / 2) turn_over();
  const iovec parts[] = {{&stamp, sizeof stamp}, {const_cast<char*>(bytes), size}};
  // Where there is no room, what is written is lost, and not the container.
  if (writev(file_.get(), parts, 2) == static_cast<ssize_t>(sizeof stamp + size)) size_ += sizeof stamp + size;
  else (void)!ftruncate(file_.get(), static_cast<off_t>(size_));
}

void Log::turn_over() {
  char older[PATH_MAX];
  if (size_ == 0 || snprintf(older, sizeof older, "%s.1", path_) >= static_cast<int>(sizeof older)) return;
  rename(path_, older);
  file_.reset(::open(path_, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  size_ = 0;
}

// The op that says where, among those that are run at the end.
const Op* Container::record() const {
  for (uint32_t i = 0; i < undo_->counts[0]; ++i)
    if (undo_->ops()[i].code == Code::record) return &undo_->ops()[i];
  return nullptr;
}

// `pid start-time`, of the first process and of this one, which watches it.
void Container::record_pid() {
  const Op* op = record();
  if (!op || op->numbers[3] > done_) return;
  char text[128];
  const int size = snprintf(text, sizeof text, "%d %llu %d %llu\n", pid_, static_cast<unsigned long long>(start_time(pid_)), getpid(),
                            static_cast<unsigned long long>(start_time(getpid())));
  write_whole(undo_->base() + op->strings[0], "pid", text, static_cast<size_t>(size));
}

// How it has ended, for those who ask later, or have the file open; of what has never run, or need not be remembered,
// nothing is left. The last line tells that it is whole.
void Container::record_end() {
  const Op* op = record();
  if (!op || op->numbers[3] > done_) return;
  log_.finish();
  const char* directory = undo_->base() + op->strings[0];
  Text text;
  char head[256], path[PATH_MAX];
  const auto us = [](const timeval& t) { return static_cast<long long>(t.tv_sec) * 1000000 + t.tv_usec; };
  const int size = snprintf(head, sizeof head, "%d %d %d %lld %lld %ld %ld %ld %ld %ld\n", status_, signal_, undo_error_, us(usage_.ru_utime),
                            us(usage_.ru_stime), usage_.ru_maxrss, usage_.ru_nvcsw, usage_.ru_nivcsw, usage_.ru_minflt, usage_.ru_majflt);
  text.append(head, static_cast<uint32_t>(size));
  text.append(counters_.bytes, counters_.size);
  text.append("\nend\n", 5);
  snprintf(path, sizeof path, "%s/outcome", directory);
  const sys::Fd fd(open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (fd) (void)!write(fd.get(), text.bytes, text.size);
  if (!op->numbers[0] || !ready_) remove_directory(directory);
}

int Container::open_log(const Op& op, State& state) {
  int ends[2];
  if (const int error = log_.open(state.text(op.strings[0]), static_cast<uint64_t>(op.numbers[2]), &ends)) return error;
  watch(log_.source(0), this, Source::kOutput);
  watch(log_.source(1), this, Source::kErrors);
  const int error = state.put(op.numbers[0], ends[0]);
  return state.put(op.numbers[1], ends[1]) ? EBADF : error;
}

void Container::on_log(int stream) {
  if (log_.source(stream) < 0 || log_.take(stream) != 0) return;
  unwatch(log_.source(stream));
  log_.close(stream);
}

}  // namespace contained
