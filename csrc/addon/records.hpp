// The containers that have been asked for and whose end has not been told yet.
#pragma once

#include "listener.hpp"
#include "packet.hpp"

#include <mutex>
#include <stdint.h>
#include <sys/types.h>
#include <vector>

namespace contained {

struct Record {
  Listener* listener;
  std::vector<uint8_t> undo;  // its section of the request, for another launcher
  uint32_t outside_ops;
  uint64_t clone_flags;
  bool joins, init;
  bool detached = false;      // goes on without the listener
  uint64_t start_time = 0;    // of a container of another launcher's; else 0
  sys::Fd log[2] = {};        // its ends that are read: without any its command would be told EPIPE
  bool sent = false, ready = false, lost = false, killed = false;
  bool ended = false;         // and only to be reaped and told
  pid_t pid = 0, helper = 0;
  uint32_t done = 0;          // of a lost one: how far it had come
  bool known = false;         // of a lost one: whether anything had been done
};

// Guards the records, and what the connection keeps besides. It is never held over a call that takes long.
extern std::mutex& mutex;

Record& add_record(uint32_t id, Record record);
Record* find_record(uint32_t id);  // nullptr: it has ended
void mark_sent(uint32_t id);
// The request never left.
void fail(uint32_t id, int error);
// Nobody can watch them, nor kill them: what is not detached ends, and waits for a launcher that undoes what it has left.
void fail_all(int error);

// What the launcher says. Called without the mutex.
void on_message(const char* bytes, size_t size, sys::Fd (&attached)[2], const Ledger& ledger, pid_t launcher);

bool any_records();
// To be called now and then while there are any.
void free_all(const Ledger& ledger, pid_t launcher);

using Send = void (*)(uint32_t id, const uint8_t* bytes, size_t size, std::vector<Attached> fds);
using Kill = void (*)(uint32_t id);
// The listener is going away, and its containers with it.
void forget_listener(Listener* listener, Kill kill);
// The successor of a killed launcher: what ran goes on running and is watched; what was being started is killed, since
// nobody knows how far it came, and its failure is reported when it is gone.
void hand_over(const Ledger& ledger, Send send, Kill kill);

}  // namespace contained
