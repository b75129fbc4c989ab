#include "container.hpp"

#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

// Where the last whole record ends: a launcher can be killed in the middle of one.
static uint64_t end_of_records(int file, uint64_t size) {
  if (size == 0) return 0;
  void* const bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  if (bytes == MAP_FAILED) return size;
  uint64_t end = 0;
  for (Stamp stamp; size - end >= sizeof stamp; end += sizeof stamp + stamp.size) {
    memcpy(&stamp, static_cast<const char*>(bytes) + end, sizeof stamp);
    if (size - end - sizeof stamp < stamp.size) break;
  }
  munmap(bytes, size);
  return end;
}

void Log::resume(const char* path, uint64_t most, const int (&sources)[2]) {
  path_ = strdup(path);
  most_ = most;
  for (int i = 0; i < 2; ++i) sources_[i].reset(sources[i]);
  // Not there when it was killed between the two steps of turn_over().
  file_.reset(::open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat found;
  if (!path_ || fstat(file_.get(), &found) < 0) return;
  size_ = end_of_records(file_.get(), static_cast<uint64_t>(found.st_size));
  (void)!ftruncate(file_.get(), static_cast<off_t>(size_));
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
  if (!file_) open_next();
  const iovec parts[] = {{&stamp, sizeof stamp}, {const_cast<char*>(bytes), size}};
  // Where there is no room, what is written is lost, and not the container.
  if (writev(file_.get(), parts, 2) == static_cast<ssize_t>(sizeof stamp + size)) size_ += sizeof stamp + size;
  else (void)!ftruncate(file_.get(), static_cast<off_t>(size_));
}

void Log::turn_over() {
  char older[PATH_MAX];
  if (size_ == 0 || snprintf(older, sizeof older, "%s.1", path_) >= static_cast<int>(sizeof older)) return;
  rename(path_, older);
  open_next();
}

void Log::open_next() {
  file_.reset(::open(path_, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  size_ = 0;
}

// The op that says where, among those that are run at the end.
const Op* Container::record() const {
  for (uint32_t i = 0; i < undo_->counts[0]; ++i)
    if (undo_->ops()[i].code == Code::record) return &undo_->ops()[i];
  return nullptr;
}

// `pid start-time`, of the first process and of this one, which watches it, and whether the command runs.
void Container::record_pid() {
  const Op* op = record();
  if (!op || op->numbers[3] > done_) return;
  char text[128];
  const int size = snprintf(text, sizeof text, "%d %llu %d %llu %d\n", pid_, static_cast<unsigned long long>(start_time(pid_)), getpid(),
                            static_cast<unsigned long long>(start_time(getpid())), ready_);
  write_whole(undo_->base() + op->strings[0], "pid", text, static_cast<size_t>(size));
}

// When the first process began, as this launcher or one before it has recorded it; 0 when there is no record.
uint64_t Container::recorded_start() const {
  const Op* op = record();
  char path[PATH_MAX], text[128];
  if (!op || snprintf(path, sizeof path, "%s/pid", undo_->base() + op->strings[0]) >= static_cast<int>(sizeof path)) return 0;
  unsigned long long start;
  int pid;
  if (sys::read_file(AT_FDCWD, path, text, sizeof text) < 0 || sscanf(text, "%d %llu", &pid, &start) != 2) return 0;
  return pid == pid_ ? start : 0;
}

// The ends that Node has kept; without them the command is told EPIPE when it writes.
void Container::resume_log(const int* fds, int count) {
  const Op* op = record();
  char path[PATH_MAX];
  if (!op || count != 2 || snprintf(path, sizeof path, "%s/log", undo_->base() + op->strings[0]) >= static_cast<int>(sizeof path)) {
    for (int i = 0; i < count; ++i) close(fds[i]);
    return;
  }
  log_.resume(path, static_cast<uint64_t>(op->numbers[1]), {fds[0], fds[1]});
  watch(log_.source(0), this, Source::kOutput);
  watch(log_.source(1), this, Source::kErrors);
}

// How it has ended, for those who ask later, or have the file open; of what has never run, or need not be remembered,
// nothing is left. The last line tells that it is whole.
void Container::record_end() {
  const Op* op = record();
  // Made, perhaps, by a launcher that was killed before it could say so: then there is nothing in it yet.
  if (op && lost_ && op->numbers[3] == done_ + 1) rmdir(undo_->base() + op->strings[0]);
  if (!op || op->numbers[3] > done_) return;
  log_.finish();
  rusage usage = usage_;
  // Node's child, which it reaps when it is told.
  const int status = status_ < 0 && pid_ && !detached_ ? ending_of(pid_, ended_.get(), &usage) : status_;
  const char* directory = undo_->base() + op->strings[0];
  Text text;
  char head[256], path[PATH_MAX];
  const auto us = [](const timeval& t) { return static_cast<long long>(t.tv_sec) * 1000000 + t.tv_usec; };
  const int size = snprintf(head, sizeof head, "%d %d %d %lld %lld %ld %ld %ld %ld %ld\n", status, signal_, undo_error_, us(usage.ru_utime),
                            us(usage.ru_stime), usage.ru_maxrss, usage.ru_nvcsw, usage.ru_nivcsw, usage.ru_minflt, usage.ru_majflt);
  text.append(head, static_cast<uint32_t>(size));
  text.append(counters_.bytes, counters_.size);
  text.append("\nend\n", 5);
  snprintf(path, sizeof path, "%s/outcome", directory);
  const sys::Fd fd(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  // Another launcher may have written it, and been killed before it was heard.
  struct stat found;
  if (fd && fstat(fd.get(), &found) == 0 && found.st_size == 0) (void)!write(fd.get(), text.bytes, text.size);
  if (!op->numbers[0] || !ready_ || lost_ || abandoned_) remove_directory(directory);
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
  if (log_.source(stream) >= 0 && log_.take(stream) == 0) close_log(stream);
}

void Container::close_log(int stream) {
  if (log_.source(stream) < 0) return;
  unwatch(log_.source(stream));
  log_.close(stream);
}

}  // namespace contained
