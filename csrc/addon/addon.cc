// The Node-API edge: unpacks, calls, packs. It decides nothing; its one caller is lib/native.ts. A worker can be terminated
// between any two steps, and then has nothing any more of what lies in an array or another object (napi_cannot_run_js), and
// node-addon-api ends Node for it. So what comes in are numbers, texts and typed arrays.
#include "../ops/ops.hpp"
#include "../ops/sys.hpp"
#include "connection.hpp"
#include "terminal.hpp"
#include "watches.hpp"
#include "work.hpp"

#include <atomic>
#include <memory>
#include <napi.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unordered_set>

namespace contained {

namespace {

// Hands events to one environment's JavaScript.
class JsListener final : public Listener {
 public:
  JsListener(Napi::Env env, Napi::Function callback, Napi::Float64Array ending)
      : ending_(Napi::Persistent(ending)), tsfn_(Napi::ThreadSafeFunction::New(env, callback, "spawn-contained", 0, 1)) {
    tsfn_.Unref(env);
  }

  void hear(Event* event) override {
    event->listener = this;
    if (tsfn_.NonBlockingCall(event, call) != napi_ok) delete event;
  }
  void ref(Napi::Env env) { tsfn_.Ref(env); }
  void unref(Napi::Env env) { tsfn_.Unref(env); }
  void release() {
    tsfn_.Release();
    for (const int fd : loose) close(fd);
  }

  // Pipes and terminals that no stream of JavaScript's has taken over yet. A worker can be terminated between any two steps.
  std::unordered_set<int> loose;

 private:
  static double ms(const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
  }

  static void call(Napi::Env env, Napi::Function callback, Event* taken) {
    const std::unique_ptr<Event> event(taken);
    if (!env) return;
    const Message& m = event->message;
    const auto number = [env](double value) { return Napi::Number::New(env, value); };
    const std::vector<char>& text = event->text;
    if (m.report == Report::kReady) {
      const napi_value trace = text.empty() ? env.Undefined() : Napi::Value(Napi::Buffer<char>::Copy(env, text.data(), text.size()));
      const int terminal = event->terminal.release();
      if (terminal >= 0) env.GetInstanceData<JsListener>()->loose.insert(terminal);
      callback.Call({number(m.id), number(m.pid), trace, env.Undefined(), terminal < 0 ? env.Undefined() : number(terminal)});
      return;
    }
    static_cast<JsListener*>(event->listener)->put_ending(*event);
    callback.Call({number(m.id), number(m.pid), env.Undefined(), Napi::String::New(env, text.data(), text.size())});
  }

  // In the order of `endingOf` in lib/native.ts. To make an object of these here takes ten times as long, 39 µs on one machine.
  void put_ending(const Event& event) {
    const Message& m = event.message;
    const rusage& usage = event.ending.usage;
    const int status = m.status >= 0 ? m.status : event.ending.status;
    const bool known = status >= 0 && m.pid > 0;
    const double numbers[] = {
        known && WIFEXITED(status) ? static_cast<double>(WEXITSTATUS(status)) : -1.0,
        known && WIFSIGNALED(status) ? static_cast<double>(WTERMSIG(status)) : 0.0,
        static_cast<double>(m.signal),
        static_cast<double>(event.lost),
        static_cast<double>(m.list),
        static_cast<double>(m.index),
        static_cast<double>(m.error),
        static_cast<double>(m.undo_index),
        static_cast<double>(m.undo_error),
        ms(usage.ru_utime),
        ms(usage.ru_stime),
        static_cast<double>(usage.ru_maxrss) * 1024,
        static_cast<double>(usage.ru_nvcsw),
        static_cast<double>(usage.ru_nivcsw),
        static_cast<double>(usage.ru_minflt),
        static_cast<double>(usage.ru_majflt),
    };
    memcpy(ending_.Value().Data(), numbers, sizeof numbers);
  }

  Napi::Reference<Napi::Float64Array> ending_;
  Napi::ThreadSafeFunction tsfn_;
};

std::atomic<uint32_t> last_id{0};

JsListener* listener_of(Napi::Env env) { return env.GetInstanceData<JsListener>(); }

// The cleanup hook deletes it, before the environment's last threadsafe function is gone.
void keep(Napi::Env, JsListener*) {}

// listen(callback, ending): once per environment; where the callback finds the numbers of an end.
void listen(const Napi::CallbackInfo& info) {
  auto* listener = new JsListener(info.Env(), info[0].As<Napi::Function>(), info[1].As<Napi::Float64Array>());
  info.Env().SetInstanceData<JsListener, keep>(listener);
  info.Env().AddCleanupHook(
      [](JsListener* going) {
        forget(going);
        going->release();
        delete going;
      },
      listener);
}

// spawn(request, size, fds): fds below zero are borrowed and stand for ~fd. Returns the id.
Napi::Value spawn_request(const Napi::CallbackInfo& info) {
  Napi::ArrayBuffer request = info[0].As<Napi::ArrayBuffer>();
  const Napi::Int32Array numbers = info[2].As<Napi::Int32Array>();
  std::vector<Attached> fds(numbers.ElementLength());
  for (size_t i = 0; i < fds.size(); ++i) {
    const int fd = numbers.Data()[i];
    fds[i] = fd < 0 ? Attached{~fd, false} : Attached{fd, true};
    if (fd >= 0) listener_of(info.Env())->loose.erase(fd);
  }
  auto* bytes = static_cast<uint8_t*>(request.Data());
  const uint32_t id = ++last_id;
  reinterpret_cast<Header*>(bytes)->id = id;
  spawn(listener_of(info.Env()), bytes, info[1].As<Napi::Number>().Uint32Value(), std::move(fds));
  return Napi::Number::New(info.Env(), id);
}

// attend(pid, startTime, cloneFlags, init): a container that another launcher has started. Returns the id.
Napi::Value attend_container(const Napi::CallbackInfo& info) {
  Header header{};
  header.request = Request::kWatch;
  header.id = ++last_id;
  header.cgroup_slot = -1;
  header.pid = info[0].As<Napi::Number>().Int32Value();
  header.start_time = static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value());
  header.clone_flags = static_cast<uint64_t>(info[2].As<Napi::Number>().Int64Value());
  header.flags = info[3].As<Napi::Boolean>() ? static_cast<uint32_t>(kInit) : 0;
  attend(listener_of(info.Env()), header);
  return Napi::Number::New(info.Env(), header.id);
}

void signal_container(const Napi::CallbackInfo& info) {
  signal(info[0].As<Napi::Number>().Uint32Value(), info[1].As<Napi::Number>().Int32Value());
}

// pipes(count, ends): puts read end, write end, … there. Returns 0, or -errno and nothing is open.
Napi::Value make_pipes(const Napi::CallbackInfo& info) {
  const uint32_t count = info[0].As<Napi::Number>().Uint32Value();
  int32_t* const ends = info[1].As<Napi::Int32Array>().Data();
  for (uint32_t i = 0; i < count; ++i) {
    if (pipe2(ends + 2 * i, O_CLOEXEC) == 0) continue;
    const int error = errno;
    for (uint32_t k = 0; k < 2 * i; ++k) close(ends[k]);
    return Napi::Number::New(info.Env(), -error);
  }
  listener_of(info.Env())->loose.insert(ends, ends + 2 * count);
  return Napi::Number::New(info.Env(), 0);
}

// duplicate(fd): a copy, or -errno.
Napi::Value duplicate(const Napi::CallbackInfo& info) {
  const int copy = fcntl(info[0].As<Napi::Number>().Int32Value(), F_DUPFD_CLOEXEC, 0);
  if (copy >= 0) listener_of(info.Env())->loose.insert(copy);
  return Napi::Number::New(info.Env(), copy < 0 ? -errno : copy);
}

// claim(fd): a stream has it now, and closes it.
void claim(const Napi::CallbackInfo& info) {
  listener_of(info.Env())->loose.erase(info[0].As<Napi::Number>().Int32Value());
}

// close(fd, …)
void close_fds(const Napi::CallbackInfo& info) {
  for (size_t i = 0; i < info.Length(); ++i) {
    const int fd = info[i].As<Napi::Number>().Int32Value();
    listener_of(info.Env())->loose.erase(fd);
    close(fd);
  }
}

void ref(const Napi::CallbackInfo& info) { listener_of(info.Env())->ref(info.Env()); }
void unref(const Napi::CallbackInfo& info) { listener_of(info.Env())->unref(info.Env()); }

Napi::Value launcher_pid_value(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), launcher_pid()); }

// apply(section, fds): the ops of the section's first list, on this thread. Returns 0 or the errno of the first that
// fails. `fds` become the slots 0, 1, … and stay the caller's.
Napi::Value apply_ops(const Napi::CallbackInfo& info) {
  const auto* section = static_cast<const Section*>(info[0].As<Napi::ArrayBuffer>().Data());
  const Napi::Int32Array fds = info[1].As<Napi::Int32Array>();
  int slots[kSlots];
  for (size_t i = 0; i < kSlots; ++i) slots[i] = i < fds.ElementLength() ? fds.Data()[i] : -1;
  State state;
  state.base = section->base();
  state.slots = slots;
  int error = 0;
  for (uint32_t i = 0; i < section->counts[0] && !error; ++i) error = perform(section->ops()[i], state);
  return Napi::Number::New(info.Env(), error);
}

void start_launcher_now(const Napi::CallbackInfo&) { connect(); }

// delegated(directory): whether systemd has marked it as given away.
Napi::Value delegated(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  char mark = 0;
  bool ret = false;
  for (const char* name : {"trusted.delegate", "user.delegate"})
    ret |= getxattr(path.c_str(), name, &mark, 1) == 1 && mark == '1';
  return Napi::Boolean::New(info.Env(), ret);
}

// opcodes(): what program.hpp calls them, for the test that compares it with lib/program/ops.ts.
Napi::Value opcodes(const Napi::CallbackInfo& info) {
  Napi::Object ret = Napi::Object::New(info.Env());
#define X(name, number) ret[#name] = Napi::Number::New(info.Env(), number);
  CONTAINED_OPS(X)
#undef X
  return ret;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports["listen"] = Napi::Function::New(env, listen);
  exports["spawn"] = Napi::Function::New(env, spawn_request);
  exports["attend"] = Napi::Function::New(env, attend_container);
  exports["signal"] = Napi::Function::New(env, signal_container);
  exports["pipes"] = Napi::Function::New(env, make_pipes);
  exports["duplicate"] = Napi::Function::New(env, duplicate);
  exports["claim"] = Napi::Function::New(env, claim);
  exports["close"] = Napi::Function::New(env, close_fds);
  exports["ref"] = Napi::Function::New(env, ref);
  exports["unref"] = Napi::Function::New(env, unref);
  exports["launcherPid"] = Napi::Function::New(env, launcher_pid_value);
  exports["apply"] = Napi::Function::New(env, apply_ops);
  exports["startLauncher"] = Napi::Function::New(env, start_launcher_now);
  exports["delegated"] = Napi::Function::New(env, delegated);
  exports["opcodes"] = Napi::Function::New(env, opcodes);
  export_terminal(env, exports);
  export_watches(env, exports);
  export_work(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(spawn_contained, init)

}  // namespace contained
