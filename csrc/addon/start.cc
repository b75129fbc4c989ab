#include "start.hpp"

#include "image.hpp"

#include <signal.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

namespace contained {

namespace {

constexpr int kSocket = 3, kShared = 4;  // where launcher.cc expects them

// The launcher runs from memory that nobody can change, so that no container can overwrite a file of the host through
// /proc/PID/exe (CVE-2019-5736).
sys::Fd sealed_image() {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  sys::Fd image(memfd_create("spawn-contained", flags | MFD_EXEC));
  if (!image && errno == EINVAL) image.reset(memfd_create("spawn-contained", flags));  // MFD_EXEC is of Linux 6.3
  if (!image) return image;
  const size_t size = static_cast<size_t>(contained_launcher_end - contained_launcher_start);
  for (size_t at = 0; at < size;) {
    const ssize_t n = write(image.get(), contained_launcher_start + at, size - at);
    if (n < 0) return sys::Fd();
    at += static_cast<size_t>(n);
  }
  if (fcntl(image.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) return sys::Fd();
  return image;
}

struct Handover {
  int image, socket, shared;
  int error;
};

// Shares Node's memory until execveat: raw calls on its own stack, nothing else. dup3 by way of high numbers, since
// one of ours may itself be 3 or 4.
int become_launcher(void* data) {
  auto* handover = static_cast<Handover*>(data);
  const int socket = fcntl(handover->socket, F_DUPFD_CLOEXEC, 10);
  const int shared = fcntl(handover->shared, F_DUPFD_CLOEXEC, 10);
  const int image = fcntl(handover->image, F_DUPFD_CLOEXEC, 10);
  if (socket >= 0 && shared >= 0 && image >= 0 && dup2(socket, kSocket) >= 0 && dup2(shared, kShared) >= 0) {
    char name[] = "spawn-contained";
    char* const argv[] = {name, nullptr};
    char* const envp[] = {nullptr};
    syscall(SYS_execveat, image, "", argv, envp, AT_EMPTY_PATH);
  }
  handover->error = errno;
  _exit(127);
}

}  // namespace

Started start_launcher() {
  Started ret;
  const auto failed = [&] {
    ret.error = errno ? errno : EIO;
    return static_cast<Started&&>(ret);
  };
  const sys::Fd image = sealed_image();
  const sys::Fd shared(memfd_create("spawn-contained ledger", MFD_CLOEXEC));
  int ends[2];
  if (!image || !shared || ftruncate(shared.get(), sizeof(Ledger)) < 0 ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
    return failed();
  sys::Fd ours(ends[0]);
  const sys::Fd theirs(ends[1]);
  void* memory = mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED, shared.get(), 0);
  if (memory == MAP_FAILED) return failed();

  // vfork(2) in effect: the page tables of a large Node are not copied. No signal handler of Node's may run in it.
  alignas(16) static char stack[64 * 1024];
  Handover handover{image.get(), theirs.get(), shared.get(), 0};
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  ret.pid = ::clone(become_launcher, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &handover);
  const int error = ret.pid < 0 ? errno : handover.error;
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (error) {
    if (ret.pid > 0) syscall(SYS_waitid, 1 /* P_PID */, ret.pid, nullptr, 4 /* WEXITED */ | __WALL, nullptr);
    munmap(memory, sizeof(Ledger));
    errno = error;
    ret.pid = 0;
    return failed();
  }
  ret.socket = static_cast<sys::Fd&&>(ours);
  ret.ledger = static_cast<Ledger*>(memory);
  return ret;
}

}  // namespace contained
