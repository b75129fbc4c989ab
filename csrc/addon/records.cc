#include "records.hpp"

#include "../ops/held.hpp"
#include "reaper.hpp"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unordered_map>
#include <unordered_set>

namespace contained {

// Never destroyed: the connection's thread still uses them while a Node that exits runs destructors.
std::mutex& mutex = *new std::mutex;

namespace {

std::mutex& delivering = *new std::mutex;  // taken after `mutex`: a listener is told something
std::unordered_map<uint32_t, Record>& records = *new std::unordered_map<uint32_t, Record>;

void deliver(Listener* listener, Event* event) {
  if (listener) listener->hear(event);
  else delete event;
}

}  // namespace

Record& add_record(uint32_t id, Record record) { return records.emplace(id, std::move(record)).first->second; }

Record* find_record(uint32_t id) {
  const auto found = records.find(id);
  return found == records.end() ? nullptr : &found->second;
}

void mark_sent(uint32_t id) {
  if (Record* record = find_record(id)) record->sent = true;
}

static void tell_failure(uint32_t id, Listener* listener, int error) {
  auto* event = new Event;
  event->message = {};
  event->message.report = Report::kExited;
  event->message.id = id;
  event->message.list = kClone;
  event->message.error = error;
  event->message.status = -1;
  deliver(listener, event);
}

void fail(uint32_t id, int error) {
  const Record* const record = find_record(id);
  if (!record) return;
  tell_failure(id, record->listener, error);
  records.erase(id);
}

void fail_all(int error) {
  for (auto at = records.begin(); at != records.end();) {
    auto& [id, record] = *at;
    if (record.ended) {
      ++at;
      continue;
    }
    tell_failure(id, record.listener, error);
    const bool begun = record.sent || record.ready || record.lost;
    if (!begun || record.start_time) {
      at = records.erase(at);
      continue;
    }
    record.listener = nullptr;
    record.sent = true;  // to be handed over (again)
    record.killed = !record.detached;
    if (record.killed && record.pid) kill(record.pid, SIGKILL);
    ++at;
  }
}

void forget_listener(Listener* listener, Kill kill_container) {
  for (auto& [id, record] : records) {
    if (record.listener != listener) continue;
    record.listener = nullptr;
    if (record.detached || record.start_time) continue;
    record.killed = true;
    kill_container(id);
  }
  const std::lock_guard<std::mutex> told(delivering);
}

namespace {

// Reaping takes a process apart, and whoever is told preempts this thread and may want to spawn at once: neither is done
// with the mutex held. `delivering` keeps the listener there until it has heard.
using Lock = std::unique_lock<std::mutex>;

void deliver(Lock lock, Listener* listener, Event* event) {
  const std::lock_guard<std::mutex> hearing(delivering);
  lock.unlock();
  deliver(listener, event);
}

void on_ready(Lock lock, Record& record, Event* event, sys::Fd (&attached)[2]) {
  const Message& message = event->message;
  record.ready = true;
  record.pid = message.pid;
  if (record.detached) for (int i = 0; i < 2; ++i) record.log[i] = static_cast<sys::Fd&&>(attached[i]);
  else event->terminal = static_cast<sys::Fd&&>(attached[0]);
  const pid_t helper = record.detached ? 0 : message.helper;
  deliver(std::move(lock), record.listener, event);
  reap(helper, nullptr);  // it ends as soon as it has handed over
}

// A process that was cloned with CLONE_PARENT by one of a container is a child of ours, too, and no record's. The zombies first:
// of what has ended by then, the launcher has noted that it is there.
void reap_strangers(const Ledger& ledger, pid_t launcher) {
  std::vector<pid_t> strangers = zombies();
  if (strangers.empty()) return;
  const Lock lock(mutex);
  std::unordered_set<pid_t> known{launcher};
  for (const auto& [id, record] : records) {
    const Ledger::Entry& entry = ledger.entries[id % kLedger];
    if (record.sent && !record.pid && entry.id != id) return;  // one that has failed, which is about to be told
    known.insert({record.pid, record.helper});
    if (entry.id == id) known.insert({entry.pid, entry.helper});
  }
  for (const pid_t pid : strangers)
    if (!known.contains(pid)) reap_later(pid);
}

void on_exited(Lock lock, Record& record, Event* event) {
  const pid_t pid = event->message.pid;
  const bool ours = !record.detached && !record.start_time;
  const pid_t helper = record.ready ? 0 : event->message.helper ? event->message.helper : record.helper;
  record.ended = true;
  lock.unlock();
  if (!ours) {
    event->ending.usage = event->message.usage;
    return conclude(event);
  }
  reap(helper, nullptr);
  reap(pid, event);
}

}  // namespace

void conclude(Event* event) {
  Lock lock(mutex);
  Record* const record = find_record(event->message.id);
  Listener* const listener = record ? record->listener : nullptr;
  event->lost = record && record->lost;
  records.erase(event->message.id);
  deliver(std::move(lock), listener, event);
}

// What a container that ends by itself may wait for without anybody having been told: one of those, or a thread that we trace.
void free_all(const Ledger& ledger, pid_t launcher) {
  if (!has_zombie()) return;
  reap_strangers(ledger, launcher);
  std::vector<pid_t> pids;
  {
    const Lock lock(mutex);
    for (const auto& [id, record] : records)
      if (record.ready && !record.ended && !record.detached && !record.start_time) pids.push_back(record.pid);
  }
  for (const pid_t pid : pids) reap_threads(pid);
}

bool any_records() {
  const Lock lock(mutex);
  return !records.empty();
}

void on_message(const char* bytes, size_t size, sys::Fd (&attached)[2], const Ledger& ledger, pid_t launcher) {
  Message message;
  memcpy(&message, bytes, sizeof message);
  Lock lock(mutex);
  Record* const record = find_record(message.id);
  if (!record || record->ended) return;
  const bool alone = record->clone_flags & CLONE_NEWPID;
  if (message.report == Report::kHeld) {
    lock.unlock();
    free_held(message.pid);
    return reap_strangers(ledger, launcher);
  }
  auto* event = new Event;
  event->message = message;
  event->text.assign(bytes + sizeof message, bytes + size);
  if (message.report == Report::kReady) return on_ready(std::move(lock), *record, event, attached);
  on_exited(std::move(lock), *record, event);
  if (!alone) reap_strangers(ledger, launcher);
}

namespace {

// What is on record of a start that nobody goes on with. An intermediate process may still be making its child: when
// it is dead it has, or never will. It does nothing that can hang.
Ledger::Entry final_entry(const Ledger::Entry& entry, bool joins) {
  const pid_t pid = entry.pid;
  if (joins && pid > 0 && (entry.helper == 0 || entry.helper == pid)) {
    // Not waitid(2): of what is detached we are not the parent.
    const sys::Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    pollfd ended{pidfd.get(), POLLIN, 0};
    if (pidfd && sys::pidfd_send_signal(pidfd.get(), SIGKILL) == 0) poll(&ended, 1, 1000);
  }
  Ledger::Entry ret = entry;
  if (ret.helper == ret.pid) ret.helper = 0;
  return ret;
}

Header adoption(uint32_t id, Record& record, const Ledger& ledger) {
  Header header{};
  header.request = record.start_time ? Request::kWatch : Request::kAdopt;
  header.id = id;
  header.cgroup_slot = -1;
  header.clone_flags = record.clone_flags;
  header.flags = (record.init ? static_cast<uint32_t>(kInit) : 0) | (record.detached ? static_cast<uint32_t>(kDetached) : 0);
  header.start_time = record.start_time;
  // Once: the launcher that takes over writes nothing of it.
  if (!record.ready && !record.lost) {
    const Ledger::Entry& entry = ledger.entries[id % kLedger];
    record.known = entry.id == id;
    const Ledger::Entry last = record.known ? final_entry(entry, record.joins) : Ledger::Entry{};
    record.lost = true;
    record.pid = last.pid;
    record.helper = last.helper;
    record.done = last.done;
  }
  header.done = record.lost ? record.done : record.outside_ops;
  if (record.lost && record.known) header.flags |= kLost;
  header.pid = record.pid;
  return header;
}

}  // namespace

void hand_over(const Ledger& ledger, Send send, Kill kill_container) {
  std::vector<uint32_t> sent;
  for (const auto& [id, record] : records)
    if (record.sent && !record.ended) sent.push_back(id);
  for (const uint32_t id : sent) {
    Record& record = *find_record(id);
    const Header header = adoption(id, record, ledger);
    const auto* start = reinterpret_cast<const uint8_t*>(&header);
    std::vector<uint8_t> bytes(start, start + sizeof header);
    bytes.insert(bytes.end(), record.undo.begin(), record.undo.end());
    std::vector<Attached> fds;
    if (record.log[0] && record.log[1]) fds = {{record.log[0].get(), false}, {record.log[1].get(), false}};
    record.sent = false;  // until this is: what is for it must not be there before
    const bool lost = record.lost, killed = record.killed;
    const pid_t pid = record.pid, helper = record.helper;
    send(id, bytes.data(), bytes.size(), std::move(fds));  // forgets one whose descriptors cannot wait: EMFILE
    // The pid is still its own: nobody but this thread reaps it.
    if (lost && pid) kill(pid, SIGKILL);
    if (lost && helper) kill(helper, SIGKILL);
    if (killed) kill_container(id);
  }
}

}  // namespace contained
