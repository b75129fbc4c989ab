#include "reports.hpp"

#include "../ops/rights.hpp"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace contained {

namespace {

// A report that could not be sent yet.
struct Kept {
  Kept* next;
  int fds[2];
  int count, tries;
  size_t size;
  char bytes[];
};

Kept *first, **end = &first;
bool closed;

int try_send(iovec* parts, size_t part_count, const int* fds, int count) {
  ssize_t sent;
  do sent = sys::send_rights(kSocket, parts, part_count, fds, static_cast<size_t>(count), MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

// ETOOMANYREFS: too many fds of this user are in messages that nobody has received yet, unix(7).
bool may_pass(int error) { return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS; }

void close_fds(Kept* kept) {
  for (int i = 0; i < kept->count; ++i) close(kept->fds[i]);
  kept->count = 0;
}

void keep(const Message& message, const char* text, uint32_t size, const int* fds, int count) {
  auto* kept = static_cast<Kept*>(malloc(sizeof(Kept) + sizeof message + size));
  if (!kept) abort();
  *kept = {nullptr, {-1, -1}, 0, 0, sizeof message + size};
  memcpy(kept->bytes, &message, sizeof message);
  if (size > 0) memcpy(kept->bytes + sizeof message, text, size);
  for (int i = 0; i < count; ++i) {
    const int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
    if (copy >= 0) kept->fds[kept->count++] = copy;
  }
  if (kept->count < count) close_fds(kept);  // all or none: Node tells them by their places
  *end = kept;
  end = &kept->next;
}

void drop_first() {
  Kept* const kept = first;
  first = kept->next;
  if (!first) end = &first;
  close_fds(kept);
  free(kept);
}

}  // namespace

void tell_node(const Message& message, const char* text, uint32_t size, const int* fds, int count) {
  if (closed) return;
  if (!first) {
    iovec parts[] = {{const_cast<Message*>(&message), sizeof message}, {const_cast<char*>(text), size}};
    if (!may_pass(try_send(parts, 2, fds, count))) return;
  }
  keep(message, text, size, fds, count);
}

int flush_reports() {
  if (!first) return -1;
  while (first) {
    iovec part{first->bytes, first->size};
    const int error = try_send(&part, 1, first->fds, first->count);
    if (!may_pass(error)) {
      drop_first();
      continue;
    }
    watch_room(error == EAGAIN);
    if (error == EAGAIN) return -1;
    // Node goes on receiving ours; if others do not receive theirs, the message must still arrive.
    if (error == ETOOMANYREFS && ++first->tries == 1000) close_fds(first);
    return 1;
  }
  watch_room(false);
  return -1;
}

void drop_reports() {
  closed = true;
  while (first) drop_first();
}

}  // namespace contained
