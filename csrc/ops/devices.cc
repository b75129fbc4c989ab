// The device controller of cgroup v2: a BPF program at the group that is asked at every open and mknod of a device.
// Kernel document cgroup-v2, "Device controller"; bpf(2).
#include "acts.hpp"
#include "sys.hpp"

#include <linux/bpf.h>
#include <string.h>

namespace contained {

namespace {

// Tells our program from those of others, such as systemd's.
constexpr char kName[] = "contained_dev";
static_assert(sizeof kName <= BPF_OBJ_NAME_LEN);

// Of the kernel's union, all zero: `{}` zeroes its first member only.
struct Attributes {
  bpf_attr attr;
  Attributes() { memset(&attr, 0, sizeof attr); }
  bpf_attr* operator->() { return &attr; }
  int call(bpf_cmd command) { return static_cast<int>(syscall(SYS_bpf, command, &attr, sizeof attr)); }
};

uint64_t address(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Instructions as hexadecimal digits, since what an op carries is a text. Returns how many, or 0 when it is none.
uint32_t decode(const char* hex, bpf_insn* ret) {
  auto* bytes = reinterpret_cast<uint8_t*>(ret);
  const size_t length = strlen(hex);
  if (length % (2 * sizeof(bpf_insn)) || length > 2 * sizeof(bpf_insn) * BPF_MAXINSNS) return 0;
  for (size_t i = 0; i < length / 2; ++i) {
    const int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return 0;
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return static_cast<uint32_t>(length / (2 * sizeof(bpf_insn)));
}

// Calls no helper, so the licence may be any, but there must be one.
int load(const bpf_insn* code, uint32_t count) {
  Attributes load;
  load->prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load->expected_attach_type = BPF_CGROUP_DEVICE;
  load->insns = address(code);
  load->insn_cnt = count;
  load->license = address("MIT");
  memcpy(load->prog_name, kName, sizeof kName);
  // The verifier gives up when a signal is pending: kernel/bpf/verifier.c, do_check.
  for (int tries = 0;; ++tries) {
    const int fd = load.call(BPF_PROG_LOAD);
    if (fd >= 0 || errno != EAGAIN || tries == 5) return fd;
  }
}

bool is_ours(int program) {
  bpf_prog_info info;
  memset(&info, 0, sizeof info);
  Attributes query;
  query->info.bpf_fd = static_cast<uint32_t>(program);
  query->info.info_len = sizeof info;
  query->info.info = address(&info);
  return query.call(BPF_OBJ_GET_INFO_BY_FD) == 0 && strcmp(info.name, kName) == 0;
}

// Our program at this very group; programs of others are left alone, since they can only forbid more.
int find_ours(int group, sys::Fd* ret) {
  uint32_t ids[64];  // BPF_CGROUP_MAX_PROGS
  Attributes query;
  query->query.target_fd = static_cast<uint32_t>(group);
  query->query.attach_type = BPF_CGROUP_DEVICE;
  query->query.prog_ids = address(ids);
  query->query.prog_cnt = 64;
  if (query.call(BPF_PROG_QUERY) < 0) return errno;
  int error = ENOENT;
  for (uint32_t i = 0; i < query->query.prog_cnt; ++i) {
    Attributes open;
    open->prog_id = ids[i];
    sys::Fd program(open.call(BPF_PROG_GET_FD_BY_ID));
    if (!program) {
      error = errno;
    } else if (is_ours(program.get())) {
      *ret = static_cast<sys::Fd&&>(program);
      return 0;
    }
  }
  return error;
}

}  // namespace

// Our program takes the place of the one that is there of us, so that there is never an instant without a program or with
// two: bpf(2), BPF_F_REPLACE. The kernel drops it with the group.
int attach_devices(int group, const char* program) {
  bpf_insn code[BPF_MAXINSNS];
  const uint32_t count = decode(program, code);
  if (count == 0) return EINVAL;
  const sys::Fd next(load(code, count));
  if (!next) return errno;
  sys::Fd old;
  const int error = find_ours(group, &old);
  if (error && error != ENOENT) return error;

  Attributes attach;
  attach->target_fd = static_cast<uint32_t>(group);
  attach->attach_bpf_fd = static_cast<uint32_t>(next.get());
  attach->attach_type = BPF_CGROUP_DEVICE;
  attach->attach_flags = BPF_F_ALLOW_MULTI | (old ? BPF_F_REPLACE : 0u);
  attach->replace_bpf_fd = old ? static_cast<uint32_t>(old.get()) : 0;
  return sys::check(attach.call(BPF_PROG_ATTACH));
}

}  // namespace contained
