#pragma once

#include <napi.h>

namespace contained {

// Adds watchListen, watch, unwatch, watchRef and watchUnref to what the addon exports.
void export_watches(Napi::Env env, Napi::Object exports);

}  // namespace contained
