// Work with cgroups that may wait in the kernel, off the event loop: each call is one hop to a thread and back.
#include "work.hpp"

#include "../ops/acts.hpp"
#include "../ops/ops.hpp"
#include "../ops/sys.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <string>
#include <vector>

namespace contained {

namespace {

// What a thread does, and what the promise is resolved with.
class Work : public Napi::AsyncWorker {
 public:
  Work(Napi::Env env, const char* name) : AsyncWorker(env, name) {}
  // In a worker that is being terminated there is no promise, nor any array: see addon.cc.
  Napi::Value start() {
    napi_value ret = nullptr;
    if (napi_create_promise(Env(), &deferred_, &ret) == napi_ok) Queue();
    else delete this;
    return Napi::Value(nullptr, ret);
  }
  void OnOK() override { napi_resolve_deferred(Env(), deferred_, result()); }

 protected:
  virtual Napi::Value result() = 0;

 private:
  napi_deferred deferred_ = nullptr;
};

// Moves many processes in one tight loop: the first write waits for an RCU grace period, the next ones find the kernel's
// cgroup_threadgroup_rwsem still in writer mode and take some 3 µs each.
class WriteProcs final : public Work {
 public:
  WriteProcs(Napi::Env env, int fd, const char* file, const int32_t* pids, size_t count)
      : Work(env, "spawn-contained.writeProcs"), fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)), file_(file), pids_(pids, pids + count), errors_(count) {}

  void Execute() override {
    for (size_t i = 0; i < pids_.size(); ++i) {
      char text[16];
      snprintf(text, sizeof text, "%d", pids_[i]);
      errors_[i] = write_at(fd_.get(), file_.c_str(), text);
    }
  }

 protected:
  Napi::Value result() override {
    Napi::Int32Array ret = Napi::Int32Array::New(Env(), errors_.size());
    if (ret.Data()) memcpy(ret.Data(), errors_.data(), errors_.size() * sizeof(int32_t));
    return ret;
  }

 private:
  sys::Fd fd_;
  std::string file_;
  std::vector<int32_t> pids_, errors_;
};

// writeProcs(directory, file, pids): an errno each, 0 for success.
Napi::Value write_procs(const Napi::CallbackInfo& info) {
  const Napi::Int32Array pids = info[2].As<Napi::Int32Array>();
  const std::string file = info[1].As<Napi::String>().Utf8Value();
  return (new WriteProcs(info.Env(), info[0].As<Napi::Number>().Int32Value(), file.c_str(), pids.Data(), pids.ElementLength()))->start();
}

// The ops of a section's first list; when one fails, those of its second that take back what was done.
class Perform final : public Work {
 public:
  Perform(Napi::Env env, const uint8_t* section, size_t size)
      : Work(env, "spawn-contained.perform"), bytes_((size + 7) / 8) {
    memcpy(bytes_.data(), section, size);
  }

  void Execute() override {
    const auto& section = *reinterpret_cast<const Section*>(bytes_.data());
    std::vector<int> slots(kSlots, -1);
    State state;
    state.base = section.base();
    state.slots = slots.data();
    const uint32_t count = section.counts[0];
    for (; done_ < count; ++done_) {
      const Op& op = section.ops()[done_];
      const int error = perform(op, state);
      if (!error || error == op.forgiven) continue;
      error_ = error;
      break;
    }
    for (const int fd : slots)
      if (fd >= 0) close(fd);
    for (uint32_t i = 0; error_ && i < section.counts[1]; ++i) {
      const Op& op = section.ops()[count + i];
      if (op.numbers[3] <= done_) (void)perform(op, state);
    }
  }

 protected:
  Napi::Value result() override {
    Napi::Object ret = Napi::Object::New(Env());
    ret["errno"] = Napi::Number::New(Env(), error_);
    ret["index"] = Napi::Number::New(Env(), done_);
    return ret;
  }

 private:
  std::vector<uint64_t> bytes_;
  uint32_t done_ = 0;
  int error_ = 0;
};

Napi::Value perform_ops(const Napi::CallbackInfo& info) {
  Napi::ArrayBuffer section = info[0].As<Napi::ArrayBuffer>();
  return (new Perform(info.Env(), static_cast<const uint8_t*>(section.Data()), section.ByteLength()))->start();
}

// Files that are read again and again: opened at the first reading, and closed with the last who reads. Thousands of groups
// together keep a quarter of the descriptors that this process may have; what is beyond that is opened for each reading.
std::atomic<size_t> kept{0};

size_t most_kept() {
  rlimit files;
  return getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur / 4 : 0;
}

class File {
 public:
  explicit File(std::string path) : path_(std::move(path)) {}
  File(File&&) = default;
  ~File() { close(); }

  sys::Fd open() {
    if (fd_) return sys::Fd(fd_.release());
    return sys::Fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  }
  void keep(sys::Fd fd, size_t most) {
    const bool mine = counted_ || kept.fetch_add(1) < most;
    if (!counted_ && !mine) --kept;
    counted_ = mine;
    if (mine) fd_ = static_cast<sys::Fd&&>(fd);
  }
  void close() {
    fd_.reset();
    if (counted_) --kept;
    counted_ = false;
  }

 private:
  std::string path_;
  sys::Fd fd_;
  bool counted_ = false;
};

struct Opened {
  std::mutex mutex;
  std::vector<File> files;
};

// A whole text, or -errno. A file of a cgroup is made anew from its start by each read, so a short one is the last.
int read_whole(int fd, std::string* text) {
  constexpr size_t kPage = 4096;
  size_t size = 0;
  for (;;) {
    text->resize(size + 4 * kPage);
    const ssize_t n = pread(fd, text->data() + size, 4 * kPage, static_cast<off_t>(size));
    if (n < 0) return -errno;
    size += static_cast<size_t>(n);
    text->resize(size);
    if (static_cast<size_t>(n) < kPage / 2) return 0;
  }
}

class ReadFiles final : public Work {
 public:
  ReadFiles(Napi::Env env, std::shared_ptr<Opened> opened) : Work(env, "spawn-contained.read"), opened_(std::move(opened)) {}

  void Execute() override {
    const std::lock_guard<std::mutex> lock(opened_->mutex);
    texts_.resize(opened_->files.size());
    errors_.resize(opened_->files.size());
    const size_t most = most_kept();
    const Clock::time_point start = Clock::now();
    for (size_t i = 0; i < texts_.size(); ++i) {
      sys::Fd fd = opened_->files[i].open();
      errors_[i] = fd ? read_whole(fd.get(), &texts_[i]) : -errno;
      if (fd) opened_->files[i].keep(static_cast<sys::Fd&&>(fd), most);
    }
    read_at_ = start + (Clock::now() - start) / 2;
  }

 protected:
  Napi::Value result() override {
    Napi::Array ret = Napi::Array::New(Env(), texts_.size());
    for (uint32_t i = 0; i < texts_.size(); ++i) {
      if (errors_[i]) ret[i] = Napi::Number::New(Env(), errors_[i]);
      else ret[i] = Napi::String::New(Env(), texts_[i]);
    }
    ret["age"] = Napi::Number::New(Env(), std::chrono::duration<double, std::milli>(Clock::now() - read_at_).count());
    return ret;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point read_at_;
  std::shared_ptr<Opened> opened_;
  std::vector<std::string> texts_;
  std::vector<int> errors_;
};

// Files(paths): each but the first after a NUL.
class Files final : public Napi::ObjectWrap<Files> {
 public:
  explicit Files(const Napi::CallbackInfo& info) : ObjectWrap(info), opened_(std::make_shared<Opened>()) {
    const std::string paths = info[0].As<Napi::String>().Utf8Value();
    for (size_t at = 0; at < paths.size();) {
      const size_t end = paths.find('\0', at);
      opened_->files.emplace_back(paths.substr(at, end - at));
      at = end == std::string::npos ? end : end + 1;
    }
  }
  Napi::Value read(const Napi::CallbackInfo& info) { return (new ReadFiles(info.Env(), opened_))->start(); }
  void close(const Napi::CallbackInfo&) {
    const std::lock_guard<std::mutex> lock(opened_->mutex);
    for (File& file : opened_->files) file.close();
  }

 private:
  std::shared_ptr<Opened> opened_;
};

}  // namespace

void export_work(Napi::Env env, Napi::Object exports) {
  exports["writeProcs"] = Napi::Function::New(env, write_procs);
  exports["perform"] = Napi::Function::New(env, perform_ops);
  exports["Files"] = Files::DefineClass(env, "Files", {Files::InstanceMethod("read", &Files::read), Files::InstanceMethod("close", &Files::close)});
}

}  // namespace contained
