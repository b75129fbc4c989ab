#include "ops.hpp"

#include "acts.hpp"
#include "rights.hpp"
#include "sys.hpp"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace contained {

int State::fd(int64_t slot) const {
  if (slot < 0) return AT_FDCWD;
  return slot < kSlots ? slots[slot] : -1;
}

// A slot owns its fd: whatever was in it is closed.
int State::put(int64_t slot, int fd) {
  if (fd < 0) return errno;
  if (slot < 0 || slot >= kSlots) {
    close(fd);
    return EBADF;
  }
  if (slots[slot] >= 0) close(slots[slot]);
  slots[slot] = fd;
  return 0;
}

// The launcher sends one byte when something that must happen outside has happened, with descriptors where there are
// any. End-of-file means that it is gone, and with it whoever would clean up after us, so this process must not go on.
// (An eventfd would not tell: a peer's death is not seen there.)
static int wait_for_launcher(int64_t to, int64_t count, State& state) {
  char byte;
  int fds[kHandedOver];
  for (;;) {
    const sys::Received got = sys::receive_rights(state.channel, &byte, 1, fds, static_cast<size_t>(count), 0);
    if (got.size < 0 && errno == EINTR) continue;
    if (got.size <= 0) return got.size == 0 ? EPIPE : errno;
    if (got.count != static_cast<size_t>(count)) return EMFILE;
    for (int64_t i = 0; i < count; ++i)
      if (const int error = state.put(to + i, fds[i])) return error;
    return 0;
  }
}

// Moves the fds in slots first … first+count-1 to 0 … count-1, by way of numbers above all of them so that none is
// overwritten before it was moved, and closes everything else: nothing of ours or Node's leaks in (CVE-2024-21626).
static int place_stdio(int64_t first, int64_t count, State& state) {
  for (int64_t i = 0; i < count; ++i) {
    const int fd = state.fd(first + i);
    if (fd >= 0) {
      const int high = fcntl(fd, F_DUPFD_CLOEXEC, static_cast<int>(count));
      if (high < 0) return errno;
      state.slots[first + i] = high;
    }
  }
  const int channel = fcntl(state.channel, F_DUPFD_CLOEXEC, static_cast<int>(count));
  if (channel < 0) return errno;
  for (int64_t i = 0; i < count; ++i) {
    const int fd = state.fd(first + i);
    if (fd < 0) close(static_cast<int>(i));
    else if (dup2(fd, static_cast<int>(i)) < 0) return errno;
    // Node may have made its own streams non-blocking, which few programs bear; libuv clears it for its children too.
    const int flags = i < 3 ? fcntl(static_cast<int>(i), F_GETFL) : -1;
    if (flags >= 0 && flags & O_NONBLOCK) fcntl(static_cast<int>(i), F_SETFL, flags & ~O_NONBLOCK);
  }
  // The channel is the one fd that must live until execve closes it: that is how success is told.
  const unsigned keep = static_cast<unsigned>(count);
  if (dup3(channel, static_cast<int>(keep), O_CLOEXEC) < 0 && errno != EINVAL) return errno;
  state.channel = static_cast<int>(keep);
  return sys::check(sys::close_range(keep + 1, ~0U, 0));
}

int apply(const Op& op, State& state) {
  const auto text = [&](int i) { return state.text(op.strings[i]); };
  const auto fd = [&](int i) { return state.fd(op.numbers[i]); };
  const int64_t* n = op.numbers;
  const auto uid = [&](int i) { return n[i] < 0 ? state.uid : static_cast<uint32_t>(n[i]); };
  const auto gid = [&](int i) { return n[i] < 0 ? state.gid : static_cast<uint32_t>(n[i]); };
  using sys::check;

  switch (op.code) {
    case Code::open:
      return state.put(n[0], sys::openat2(fd(1), text(0), static_cast<uint64_t>(n[2]), 0, 0));
    case Code::close:
      close(fd(0));
      state.slots[n[0]] = -1;
      return 0;
    case Code::write:
      return write_at(fd(0), text(0), text(1));
    case Code::writeFd:
      return check(write(fd(0), text(0), strlen(text(0))));
    case Code::create:
      return create_file(text(0), text(1));
    case Code::mkdir:
      return check(mkdirat(fd(0), text(0), static_cast<mode_t>(n[1])));
    case Code::rmdir:
      return remove_cgroup(text(0), n[0] != 0);
    case Code::ensure:
      return ensure(fd(0), text(0), static_cast<int>(n[1]), fd(2));
    case Code::symlink:
      return check(symlinkat(text(1), fd(0), text(0)));
    case Code::mknod:
      return check(mknodat(fd(0), text(0), static_cast<mode_t>(n[1]), static_cast<dev_t>(n[2])));
    case Code::unlink:
      return check(unlinkat(fd(0), text(0), 0));
    case Code::fchown:
      return check(fchown(fd(0), uid(1), gid(2)));
    case Code::stdio:
      return place_stdio(n[0], n[1], state);

    case Code::openTree:
      return state.put(n[0], sys::open_tree(fd(1), text(0), static_cast<unsigned>(n[2])));
    case Code::fsmount:
      return state.put(n[0], make_fsmount(text(0), text(1), n[1] / 2, static_cast<unsigned>(n[2])));
    case Code::overlay:
      return state.put(n[0], make_overlay(op, state));
    case Code::mountSetattr: {
      mount_attr attributes{};
      attributes.attr_set = static_cast<uint64_t>(n[1]);
      attributes.propagation = static_cast<uint64_t>(n[2]);
      const unsigned flags = static_cast<unsigned>(n[3]) | (n[0] < 0 ? 0u : static_cast<unsigned>(AT_EMPTY_PATH));
      return check(sys::mount_setattr(fd(0), text(0) ? text(0) : "", flags, &attributes));
    }
    case Code::moveMount:
      return move_mount_to(fd(0), fd(1), text(0));
    case Code::mask:
      return mask(fd(0), text(0), fd(1), fd(2));
    case Code::readonly:
      return make_readonly(fd(0), text(0));
    case Code::pivotRoot:
      return pivot(fd(0), n[1]);
    case Code::mount:
      return check(sys::mount(text(0), text(1), text(2), static_cast<uint64_t>(n[0]), text(3)));
    case Code::umount:
      return check(sys::umount(text(0), static_cast<int>(n[0])));
    case Code::chdir:
      return chdir_inside(text(0));

    case Code::unshare:
      return check(sys::unshare(static_cast<uint64_t>(n[0])));
    case Code::setns:
      return check(sys::setns(fd(0), static_cast<uint64_t>(n[1])));
    case Code::loopback:
      return loopback_up();
    case Code::newidmap:
      return run_newidmap(text(0), text(1), state.target);

    case Code::sethostname:
      return check(sethostname(text(0), strlen(text(0))));
    case Code::setdomainname:
      return check(setdomainname(text(0), strlen(text(0))));
    case Code::setrlimit: {
      const rlimit limit{static_cast<rlim_t>(n[1]), static_cast<rlim_t>(n[2])};
      return check(syscall(SYS_prlimit64, 0, n[0], &limit, nullptr));
    }
    case Code::setpriority:
      return check(setpriority(PRIO_PROCESS, 0, static_cast<int>(n[0])));
    case Code::setaffinity:
      return set_affinity(text(0));
    case Code::umask:
      umask(static_cast<mode_t>(n[0]));
      return 0;
    case Code::setsid:
      return check(setsid());
    case Code::user:
      return find_user(text(0), text(1), state);
    case Code::setgroups:
      return set_groups(text(0), state);
    case Code::setresgid:
      return check(syscall(SYS_setresgid, gid(0), gid(0), gid(0)));
    case Code::setresuid:
      return check(syscall(SYS_setresuid, uid(0), uid(0), uid(0)));
    case Code::prctl:
      return check(prctl(static_cast<int>(n[0]), n[1], n[2], 0L, 0L));
    case Code::boundingSet:
      return drop_bounding_set(static_cast<uint64_t>(n[0]));
    case Code::capset:
      return set_capabilities(static_cast<uint64_t>(n[0]), static_cast<uint64_t>(n[1]));
    case Code::ambient:
      return raise_ambient(static_cast<uint64_t>(n[0]));
    case Code::unmaskSignals: {
      const uint64_t none = 0;
      return check(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none));
    }
    case Code::wait:
      return wait_for_launcher(n[0], n[1], state);

    case Code::killCgroup:
      return kill_cgroup(text(0), n[0] != 0);
    case Code::killGroup:
      return check(kill(-state.target, SIGKILL));
    case Code::unless:
      return refuse_line(text(0), text(1));
    case Code::moveMembers:
      return move_members(text(0), text(1));
    case Code::attachDevices:
      return attach_devices(fd(0), text(0));
    case Code::controllingTerminal:
      return check(ioctl(0, TIOCSCTTY, 0));

    case Code::go:         // the launcher, for a process that waits
    case Code::writeProc:  // the launcher, which knows the process
    case Code::pidfd:      // the launcher, which knows the containers
    case Code::read:
    case Code::log:        // the launcher, which keeps it
    case Code::record:
    case Code::terminal:   // the contained process, which has a channel
    case Code::init:       // likewise; there is no step after these
    case Code::pause:
    case Code::exec:
      break;
  }
  return ENOSYS;
}

}  // namespace contained
