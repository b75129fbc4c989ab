#pragma once

#include <napi.h>

namespace contained {

// Adds setWindowSize, windowSize, makeRaw and setMode to what the addon exports.
void export_terminal(Napi::Env env, Napi::Object exports);

}  // namespace contained
