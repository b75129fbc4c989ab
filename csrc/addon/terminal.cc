// What Node lacks for terminals; its one caller is lib/native.ts. None of it can block.
#include "terminal.hpp"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

namespace contained {

namespace {

int fd_of(const Napi::CallbackInfo& info) { return info[0].As<Napi::Number>().Int32Value(); }

Napi::Value result(const Napi::CallbackInfo& info, int done) { return Napi::Number::New(info.Env(), done < 0 ? -errno : 0); }

// setWindowSize(fd, columns, rows): 0 or -errno. The foreground job is told by SIGWINCH.
Napi::Value set_window_size(const Napi::CallbackInfo& info) {
  const auto number = [&](size_t i) { return static_cast<unsigned short>(info[i].As<Napi::Number>().Uint32Value()); };
  const winsize size{number(2), number(1), 0, 0};
  return result(info, ioctl(fd_of(info), TIOCSWINSZ, &size));
}

// windowSize(fd): [columns, rows], or nothing where fd is no terminal.
Napi::Value window_size(const Napi::CallbackInfo& info) {
  winsize size{};
  if (ioctl(fd_of(info), TIOCGWINSZ, &size) < 0) return info.Env().Undefined();
  Napi::Array ret = Napi::Array::New(info.Env(), 2);
  ret[0u] = Napi::Number::New(info.Env(), size.ws_col);
  ret[1u] = Napi::Number::New(info.Env(), size.ws_row);
  return ret;
}

// makeRaw(fd): the mode that it had, for setMode; or -errno. libuv's raw mode goes on turning \n into \r\n.
Napi::Value make_raw(const Napi::CallbackInfo& info) {
  termios mode;
  if (tcgetattr(fd_of(info), &mode) < 0) return Napi::Number::New(info.Env(), -errno);
  const Napi::Value before = Napi::Buffer<char>::Copy(info.Env(), reinterpret_cast<const char*>(&mode), sizeof mode);
  cfmakeraw(&mode);
  if (tcsetattr(fd_of(info), TCSANOW, &mode) < 0) return Napi::Number::New(info.Env(), -errno);
  return before;
}

// setMode(fd, mode): 0 or -errno.
Napi::Value set_mode(const Napi::CallbackInfo& info) {
  const Napi::Buffer<char> bytes = info[1].As<Napi::Buffer<char>>();
  termios mode;
  if (bytes.Length() != sizeof mode) return Napi::Number::New(info.Env(), -EINVAL);
  memcpy(&mode, bytes.Data(), sizeof mode);
  return result(info, tcsetattr(fd_of(info), TCSANOW, &mode));
}

}  // namespace

void export_terminal(Napi::Env env, Napi::Object exports) {
  exports["setWindowSize"] = Napi::Function::New(env, set_window_size);
  exports["windowSize"] = Napi::Function::New(env, window_size);
  exports["makeRaw"] = Napi::Function::New(env, make_raw);
  exports["setMode"] = Napi::Function::New(env, set_mode);
}

}  // namespace contained
