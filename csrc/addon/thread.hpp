#pragma once

#include <pthread.h>
#include <signal.h>

namespace contained {

// Starts a thread that lives as long as the process; returns 0 or an errno. All signals are blocked in it: they are for
// Node's own threads.
inline int start_thread(void* (*body)(void*)) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, body, nullptr);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (!error) pthread_detach(thread);
  return error;
}

}  // namespace contained
