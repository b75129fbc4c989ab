// What is done when the first process of a container has ended.
#include "container.hpp"

#include "../ops/acts.hpp"

#include <stdio.h>
#include <string.h>

namespace contained {

void Container::enter(Container& host) {
  host_ = host.id_;
  host.visited_ = true;
  below_ = is_below(host);
  host.guests_ += below_;
}

void Container::lose_guest() {
  --guests_;
  retry_at_ = 0;
}

static const char* first_group(const Section& undo) {
  for (uint32_t i = 0; i < undo.counts[0]; ++i)
    if (undo.ops()[i].code == Code::rmdir) return undo.base() + undo.ops()[i].strings[0];
  return nullptr;
}

bool Container::has_group() const { return first_group(*undo_); }

bool Container::is_below(const Container& host) const {
  const char *ours = first_group(*undo_), *above = first_group(*host.undo_);
  if (!ours || !above) return false;
  const size_t length = strlen(above);
  return strncmp(ours, above, length) == 0 && ours[length] == '/';
}

int Container::undo(const Op& op) {
  State state;
  state.base = undo_->base();
  state.target = pid_;
  if (op.code == Code::killGroup) return pid_ == 0 ? 0 : kill_group(op, state);
  if (op.code == Code::record) return 0;  // when all else is undone: record_end()
  if (op.code == Code::read) {
    read_counter(state.text(op.strings[0]));
    return 0;
  }
  return perform(op, state);
}

// Where a user namespace is its own, also who has left the process group.
int Container::kill_group(const Op& op, State& state) {
  const int error = perform(op, state);
  return own_users_ && end_own_namespace() > 0 ? EBUSY : error;
}

// A counter that is not there is told as nothing, so that the others keep their places.
void Container::read_counter(const char* path) {
  char text[4096];
  const ssize_t size = sys::read_file(AT_FDCWD, path, text, sizeof text);
  counters_.append(size < 0 ? "" : text, size < 0 ? 1 : static_cast<uint32_t>(size) + 1);
}

// A directory is busy while a member is still dying: it is killed (again) and the step tried again, after 1, 2, 4 …
// milliseconds. After ten seconds the step is given up, reported, and the rest is still done.
bool Container::undo_on(uint64_t now) {
  for (; undo_index_ < undo_->counts[0]; ++undo_index_) {
    const Op& op = undo_->ops()[undo_index_];
    // A group that was being made has no members: rmdir is enough, and it is no stranger's if that works.
    if (op.numbers[3] > done_ + (lost_ && op.code == Code::rmdir)) {
      if (op.code == Code::read) counters_.append("", 1);
      continue;
    }
    const bool only_when_busy = op.code == Code::killCgroup && op.numbers[1];
    // With the groups of those below ours would go what they have counted.
    const bool waits = op.code == Code::rmdir && guests_ > 0 && retries_ < 100;
    const int error = only_when_busy ? 0 : waits ? EBUSY : undo(op);
    if (error == EBUSY && retries_ < 100) {
      kill_members();
      retry_at_ = now + (retries_ < 7 ? 1u << retries_ : 100);
      ++retries_;
      return false;
    }
    if (error && !undo_error_) {
      undo_failed_ = undo_index_;
      undo_error_ = error;
    }
  }
  if (detached_ && !reap()) {
    retry_at_ = now + 10;
    return false;
  }
  report_exited();
  return true;
}

}  // namespace contained
