// One container as the launcher knows it, from the request to the last rmdir.
#pragma once

#include "child.hpp"
#include "../ops/process.hpp"
#include "record.hpp"
#include "../ops/sys.hpp"

namespace contained {

// A byte string that grows; what the `read` ops and the trace leave for Node.
struct Text {
  char* bytes = nullptr;
  uint32_t size = 0;
  ~Text();
  void append(const void* data, uint32_t length);
};

class Container {
 public:
  Container(const Header& header, const Section& undo);
  ~Container();

  void spawn(const Header& header, const Section& program, const int* attached, int count);
  int open_log(const Op& op, State& state);
  void read_counter(const char* path);
  void refuse(int error);  // instead of `spawn`
  void enter(Container& host);  // from now on this ends when the host ends
  void lose_guest();
  void adopt(const Header& header, const int* fds, int count);  // `fds`: of its log, if it has one
  void attend(const Header& header);  // another launcher's
  void signal(int number);
  bool lose_node();      // SIGKILL, unless it goes on; true when it is not ours, so that it can be deleted
  void on_channel();     // a note, or the end of the channel
  void on_log(int stream);
  void on_exit();        // the pidfd is readable
  void reap_helper();    // who has gone ahead of a detached one has ended
  bool undo_on(uint64_t now);  // goes on undoing; true when finished and reported, so that it can be deleted
  void look_again();     // whether SIGKILL has ended it

  uint32_t id() const { return id_; }
  // Whose namespaces can be entered: without root not an init's, which is not dumpable, setns(2).
  int entrance() const { return command_ ? command_.get() : pidfd_.get(); }
  // When there is something to do, in milliseconds; 0: now.
  uint64_t due() const { return undoing_ ? retry_at_ : look_at_ ? look_at_ : ~uint64_t{0}; }
  bool undoing() const { return undoing_; }
  void share() { shared_ = true; }
  bool has(pid_t pid) const;
  bool ready() const { return ready_; }
  uint32_t host() const { return host_; }
  static uint32_t timers;  // how many have something to do at some time

  Container* next = nullptr;  // in its hash chain

 private:
  void begin_undoing();
  void fail(uint32_t list, uint32_t index, int error);
  void launch(const Header& header, const Section& program, State& state);
  bool run_list(Launch& launch, uint32_t list);
  void clone(Launch& launch);
  void release(Launch& launch, bool last);
  void take_times(const char* bytes);
  void take_child(pid_t pid, int pidfd);
  void handle(const Note& note, const char* rest, uint32_t rest_size, sys::Fd attached);
  void drop(sys::Fd& fd);
  void close_log(int stream);
  bool handles(int number) const;
  const Op* record() const;
  void record_pid();
  uint64_t recorded_start() const;
  void resume_log(const int* fds, int count);
  void record_end();
  void find_command();
  bool reap();
  void report_ready();
  void report_exited();
  void send(Report report, const Text* text, const int* fds = nullptr, int count = 0);
  void kill_members();
  int kill_group(const Op& op, State& state);
  void kill_guests();
  void kill_command();
  void hold_users();
  void give_up();
  int end_own_namespace();
  void look_again_at(uint64_t when);
  bool has_group() const;
  bool is_below(const Container& host) const;
  void keep_signal(int number);
  void hand_on_signals();
  int kill_now();
  int kill_first();
  void thaw();
  int undo(const Op& op);

  uint32_t id_;
  uint32_t host_ = 0;          // whose guest it is; 0: nobody's
  uint32_t guests_ = 0;        // who have groups below ours and are not undone yet
  bool below_ = false;         // whether we are one of those
  pid_t pid_ = 0, helper_ = 0;
  sys::Fd pidfd_, channel_;
  sys::Fd helper_end_;  // the pidfd of the helper whose parent we are, until it is reaped
  sys::Fd command_;  // with an init: what it runs
  sys::Fd ended_;    // the pidfd when the process has ended, until that is recorded
  sys::Fd terminal_; // the master of its terminal, until Node has it
  Section* undo_;
  uint32_t undo_index_ = 0;
  uint32_t done_ = 0;          // ops of `host` and `release` done
  uint64_t retry_at_ = 0;      // when undoing goes on, in milliseconds; 0: now
  uint32_t retries_ = 0;
  sys::Fd own_users_;          // the user namespace that is its own, where nothing else tells who is of it
  uint64_t look_at_ = 0;       // when it is looked at again, 0: not
  uint32_t looks_ = 0;
  uint64_t early_ = 0;         // signals for a command that was not yet there
  bool visited_ = false;       // whether it ever had guests
  bool lost_ = false, killed_ = false, detached_ = false, foreign_ = false, abandoned_ = false;
  bool undoing_ = false, ready_ = false, has_init_ = false, pid_namespace_ = false, failed_ = false;
  bool shared_ = false;        // whether others may be in its namespaces
  uint32_t failed_list_ = 0, failed_index_ = 0;
  int32_t error_ = 0, undo_error_ = 0, status_ = -1, signal_ = 0;
  uint32_t undo_failed_ = 0;
  uint32_t* times_ = nullptr;
  uint32_t times_size_ = 0;
  Text counters_;
  Log log_;
  rusage usage_{};
};

// settle.cc. Signals, limits, streams, keys and priorities of Node's are left; an errno when containers would still have one.
int settle();
constexpr int kShared = 4;  // where the addon puts the memory of the ledger

// launcher.cc
Container* find(uint32_t id);
void for_each_guest(uint32_t host, void (*act)(Container&));
enum class Source : uintptr_t { kPidfd, kChannel, kOutput, kErrors, kHelper };  // what of a container has something to say
void watch(int fd, Container* container, Source source);
void unwatch(int fd);
void reap_strangers();  // children of ours that are no container's
uint64_t milliseconds();

}  // namespace contained
