#pragma once

#include <napi.h>

namespace contained {

// Adds writeProcs, perform and Files to what the addon exports: what is done on libuv's threads.
void export_work(Napi::Env env, Napi::Object exports);

}  // namespace contained
