// The wire format between lib/program/encode.ts, the addon and the launcher. All three run on one machine, so
// numbers are in its own byte order and structs are read in place; every struct is a multiple of eight bytes.
#pragma once

#include <stdint.h>
#include <sys/resource.h>

namespace contained {

// What an op does is said once, at its case in ops.cc. The numbers are repeated in lib/program/ops.ts, and a test
// compares the two.
#define CONTAINED_OPS(X) \
  X(open, 1)             \
  X(close, 2)            \
  X(write, 3)            \
  X(writeFd, 4)          \
  X(mkdir, 5)            \
  X(rmdir, 6)            \
  X(ensure, 7)           \
  X(symlink, 8)          \
  X(mknod, 9)            \
  X(fchown, 10)          \
  X(stdio, 11)           \
  X(openTree, 20)        \
  X(fsmount, 21)         \
  X(overlay, 22)         \
  X(mountSetattr, 23)    \
  X(moveMount, 24)       \
  X(mask, 25)            \
  X(readonly, 36)        \
  X(pivotRoot, 26)       \
  X(mount, 27)           \
  X(umount, 28)          \
  X(chdir, 29)           \
  X(unshare, 30)         \
  X(setns, 31)           \
  X(pidfd, 32)           \
  X(loopback, 33)        \
  X(writeProc, 34)       \
  X(newidmap, 35)        \
  X(sethostname, 40)     \
  X(setdomainname, 41)   \
  X(setrlimit, 42)       \
  X(setpriority, 43)     \
  X(setaffinity, 44)     \
  X(umask, 45)           \
  X(setsid, 46)          \
  X(user, 47)            \
  X(setgroups, 48)       \
  X(setresgid, 49)       \
  X(setresuid, 50)       \
  X(prctl, 51)           \
  X(boundingSet, 52)     \
  X(capset, 53)          \
  X(ambient, 54)         \
  X(unmaskSignals, 55)   \
  X(wait, 57)            \
  X(init, 58)            \
  X(exec, 59)            \
  X(read, 60)            \
  X(killCgroup, 61)      \
  X(killGroup, 62)       \
  X(pause, 64)           \
  X(unless, 65)          \
  X(moveMembers, 66)     \
  X(log, 67)             \
  X(record, 68)          \
  X(create, 69)          \
  X(attachDevices, 70)   \
  X(terminal, 80)        \
  X(controllingTerminal, 81) \
  X(go, 90)              \
  X(unlink, 95)

enum class Code : uint16_t {
#define X(name, number) name = number,
  CONTAINED_OPS(X)
#undef X
};

// One step. `strings` are offsets from the start of the section, 0 meaning none; what each field means depends on
// the code. In an undo op the last number is 1 + the index of the op that it takes back, counted over `host` and then
// `release` (0: none): it is skipped unless that one was done, so that a cgroup which was somebody else's is never removed. `forgiven` is an errno that counts as success, for steps such as "mask this path if it exists".
struct Op {
  Code code;
  uint16_t forgiven;
  uint32_t pad;
  uint32_t strings[4];
  int64_t numbers[4];
};
static_assert(sizeof(Op) == 56);

// The lists of a program. The first four are one section of the message; `undo` is a section of its own, so that
// the launcher can keep it, and Node can hand it to another launcher, without the rest.
enum List : uint32_t { kHost, kJoin, kRelease, kChild, kUndo, kExecve, kClone, kLists = 4 };

struct Section {
  uint32_t size;           // of the whole section in bytes, this header included
  uint32_t counts[5];      // ops in each list; they follow this header one list after the other
  const Op* ops() const { return reinterpret_cast<const Op*>(this + 1); }
  const char* base() const { return reinterpret_cast<const char*>(this); }
};
static_assert(sizeof(Section) == 24);

enum class Request : uint32_t {
  kSpawn = 1,   // run the program
  kAdopt = 2,   // another launcher was killed: watch `pid` (0: nothing to watch) and run `undo` after it
  kSignal = 3,  // send `signal` to the container `id`
  kWatch = 4,   // a container of another launcher's: tell when `pid`, which began at `start_time`, ends; `undo` is empty
};

enum : uint32_t {
  kTrace = 1,   // time each op
  kLost = 8,    // kAdopt: its start was interrupted; the op after the last that is known to be done may be done too
  kInit = 4,    // kAdopt, kWatch: an init stands before the command
  kDetached = 16,  // goes on when Node ends: it is the launcher's child, which reaps it
  kMemfd = 2,   // the request was too large for a packet: the whole of it is in the last fd attached
};

struct Header {
  Request request;
  uint32_t id;          // names the container for its whole life
  uint64_t clone_flags; // CLONE_NEW* for the contained process
  uint64_t join_flags;  // the same for the intermediate process; it exists when `join` is not empty
  int32_t cgroup_slot;  // slot of a cgroup v2 directory for CLONE_INTO_CGROUP, or -1
  uint32_t flags;
  uint32_t fault_list;  // fault injection: this op of this list fails with fault_errno instead of being done
  uint32_t fault_index;
  uint32_t fault_errno; // 0: no fault
  int32_t signal;
  int32_t pid;
  uint32_t done;        // kAdopt: how many ops of `host` and `release` had been done
  uint64_t start_time;  // kWatch: of `pid`, in ticks since boot, so that it is no later process of that number
};
static_assert(sizeof(Header) == 64);

enum class Report : uint32_t {
  kReady = 1,   // the command runs; text: nanoseconds of each op when traced; its terminal attached, if it has one
  kExited = 2,  // the first process is dead and everything is undone; text: what the `read` ops read
  kHeld = 3,    // it has been killed and does not end; Node may be who could free it: held.hpp
};

// What the launcher tells Node. Followed by `text_size` bytes.
struct Message {
  Report report;
  uint32_t id;
  int32_t pid;          // of the contained process, 0 when there was none
  int32_t helper;       // of the intermediate process, which Node must reap too, or 0
  uint32_t list;        // the step that failed …
  uint32_t index;
  int32_t error;        // … and its errno; 0: nothing failed
  uint32_t undo_index;  // the undo step that could not be done, or kNoStep: the process could not be ended …
  int32_t undo_error;   // … and its errno
  int32_t status;       // wait status of the command when an init stands before it, or it is detached; else -1
  int32_t signal;       // the signal that ended it as the caller meant it, see Request::kSignal; else 0
  uint32_t text_size;
  rusage usage;         // of a detached container, which the launcher reaps; else zero
};
static_assert(sizeof(Message) % 8 == 0);

constexpr uint32_t kNoStep = ~uint32_t{0};
constexpr int kSlots = 1024;               // fds a program can name at once
constexpr uint32_t kPacket = 128 * 1024;   // a larger request travels in a memfd
constexpr int kAttached = 250;             // fds with one request; SCM_MAX_FD is 253
constexpr int kHandedOver = 32;            // fds with one `go`; there are not so many cgroup hierarchies
constexpr uint32_t kText = 16 * 1024;      // of a message
constexpr uint32_t kLedger = 4096;

// Memory that the launcher shares with Node: how far the launch of each container has come. When the launcher is
// killed, this is how Node finds a child that nobody has told it about, and knows what there is to undo.
struct Ledger {
  struct Entry {
    uint32_t id;    // an entry stands at id % kLedger and counts only while it carries that id
    uint32_t done;  // ops of `host` and `release` done
    int32_t pid;    // the child; 0 before the clone. Until there is a helper it may be that, where there is to be one
    int32_t helper;
  } entries[kLedger];
};

// A record on the channel between the launcher and one child.
struct Note {
  enum Kind : uint32_t {
    kFailed = 1,  // list, index, value: the step and its errno
    kCloned = 2,  // value: pid of the contained process, its pidfd attached; from the intermediate process
    kTimes = 3,   // followed by the nanoseconds of every op so far
    kStarted = 4, // from an init: the command runs
    kStatus = 5,  // from an init: value: wait status of the command
    kTerminal = 6,  // the master of its terminal is attached
  } kind;
  uint32_t list, index;
  int32_t value;
};

}  // namespace contained
