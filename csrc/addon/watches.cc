// The Node-API edge of watch.hpp; its one caller is lib/cgroup/watch.ts.
#include "watches.hpp"

#include "watch.hpp"

#include <mutex>
#include <unordered_map>

namespace contained {

namespace {

// Hands reports to one environment's JavaScript. What is new of a watch that has not been told yet is added to what is
// waiting: a group under memory pressure has hundreds of events in a second, and JavaScript may be busy.
class JsWatches final : public WatchListener {
 public:
  void hear(uint32_t id, WatchReport report) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto [at, fresh] = untold_.try_emplace(id);
      WatchReport& sum = at->second;
      sum.opened |= report.opened;
      sum.error = report.error;
      sum.step = report.step;
      if (!report.error) {
        sum.events += report.events;
        sum.text = std::move(report.text);
      }
      if (!fresh) return;
    }
    tsfn_.NonBlockingCall(reinterpret_cast<void*>(static_cast<uintptr_t>(id)));
  }

  void listen(Napi::Env env, Napi::Function callback) {
    tsfn_ = Tsfn::New(env, callback, "spawn-contained.watch", 0, 1, this);
    tsfn_.Unref(env);
    env.AddCleanupHook(
        [](JsWatches* going) {
          unwatch_all(going);
          going->tsfn_.Release();
        },
        this);
  }
  void ref(Napi::Env env) { tsfn_.Ref(env); }
  void unref(Napi::Env env) { tsfn_.Unref(env); }

 private:
  // Without an environment there is no listener any more either.
  static void tell(Napi::Env env, Napi::Function callback, JsWatches* self, void* data) {
    if (!env) return;
    const auto id = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(data));
    WatchReport report;
    {
      const std::lock_guard<std::mutex> lock(self->mutex_);
      auto node = self->untold_.extract(id);
      if (node) report = std::move(node.mapped());
    }
    const auto number = [env](double value) { return Napi::Number::New(env, value); };
    callback.Call({number(id), Napi::Boolean::New(env, report.opened), number(static_cast<double>(report.events)),
                   Napi::String::New(env, report.text), number(-report.error), Napi::String::New(env, report.step)});
  }
  using Tsfn = Napi::TypedThreadSafeFunction<JsWatches, void, tell>;

  Tsfn tsfn_;
  std::mutex mutex_;
  std::unordered_map<uint32_t, WatchReport> untold_;
};

JsWatches& watches_of(const Napi::CallbackInfo& info) { return *static_cast<JsWatches*>(info.Data()); }

// watchListen(callback): once per environment, before all else.
void watch_listen(const Napi::CallbackInfo& info) { watches_of(info).listen(info.Env(), info[0].As<Napi::Function>()); }

Napi::Value watch_file(const Napi::CallbackInfo& info) {
  const auto kind = static_cast<WatchKind>(info[0].As<Napi::Number>().Uint32Value());
  const uint32_t id = watch(&watches_of(info), kind, info[1].As<Napi::String>(), info[2].As<Napi::String>());
  return Napi::Number::New(info.Env(), id);
}

void watch_end(const Napi::CallbackInfo& info) { unwatch(info[0].As<Napi::Number>().Uint32Value()); }
void watch_ref(const Napi::CallbackInfo& info) { watches_of(info).ref(info.Env()); }
void watch_unref(const Napi::CallbackInfo& info) { watches_of(info).unref(info.Env()); }

}  // namespace

void export_watches(Napi::Env env, Napi::Object exports) {
  auto* watches = new JsWatches;
  env.AddCleanupHook([](JsWatches* going) { delete going; }, watches);  // runs after that of listen()
  exports["watchListen"] = Napi::Function::New(env, watch_listen, "watchListen", watches);
  exports["watch"] = Napi::Function::New(env, watch_file, "watch", watches);
  exports["unwatch"] = Napi::Function::New(env, watch_end, "unwatch", watches);
  exports["watchRef"] = Napi::Function::New(env, watch_ref, "watchRef", watches);
  exports["watchUnref"] = Napi::Function::New(env, watch_unref, "watchUnref", watches);
}

}  // namespace contained
