// What the contained process does between clone3 and execve.
#pragma once
#include "floor-lines.h"

#include <linux/capability.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

enum { BARE, PID_MNT, FULL, FULL_NET };
static int kind;
static const char *rootfs, *file;

static int open_in_root(int root, const char *path) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
  return syscall(SYS_openat2, root, path, &how, sizeof how);
}

static int open_plain(const char *path, uint64_t flags) {
  struct open_how how = {.flags = flags | O_CLOEXEC};
  return syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

static void put_on(int from, int target) {
  must("move_mount", move_mount(from, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
  close(target);
}

static void put_on_root(int from) { put_on(from, open("/", O_PATH | O_CLOEXEC)); }
static void put_in(int from, int root, const char *path) { put_on(from, open_in_root(root, path)); }

// `options`: key, value, …, NULL; an empty value is a flag.
static int new_mount(const char *type, const char *const *options, unsigned attributes) {
  const int fs = fsopen(type, FSOPEN_CLOEXEC);
  for (; *options; options += 2) {
    const int flag = !*options[1];
    must(options[0], fsconfig(fs, flag ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, options[0], flag ? NULL : options[1], 0));
  }
  must(type, fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  const int mount = fsmount(fs, FSMOUNT_CLOEXEC, attributes);
  must("fsmount", mount);
  close(fs);
  return mount;
}
#define NEW_MOUNT(type, attributes, ...) new_mount(type, (const char *const[]){"source", type, __VA_ARGS__ NULL}, attributes)

static void ensure(int root, const char *path) {
  const int found = open_in_root(root, path);
  must(path, found);
  close(found);
}

static void set_attributes(int fd, const char *path, unsigned flags, uint64_t set, uint64_t propagation) {
  struct mount_attr attributes = {.attr_set = set, .propagation = propagation};
  must("mount_setattr", mount_setattr(fd, path, flags | AT_RECURSIVE, &attributes, sizeof attributes));
}

static void mask(int root, const char *path, int directory, int null) {
  const int target = open_in_root(root, path);
  if (target < 0) return;
  struct stat found;
  must("fstat", fstat(target, &found));
  const int cover = S_ISDIR(found.st_mode) ? directory : null;
  if (cover == null) must("fstat", fstat(null, &found));
  const int copy = open_tree(cover, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  must("open_tree", copy);
  put_on(copy, target);
  close(copy);
}

static void make_readonly(int root, const char *path) {
  const int target = open_in_root(root, path);
  if (target < 0) return;
  const int copy = open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
  must("open_tree", copy);
  set_attributes(copy, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
  put_on(copy, target);
  close(copy);
}

static void fill_dev(int dev) {
  static const char *const links[][2] = {{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
                                         {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}};
  static const struct { const char *name; unsigned major, minor; } nodes[] = {
      {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
  static const char *const directories[] = {"pts", "shm", "mqueue"};
  for (int i = 0; i < 5; ++i) must("symlink", symlinkat(links[i][1], dev, links[i][0]));
  for (int i = 0; i < (kind >= FULL ? 3 : 2); ++i) must("mkdir", mkdirat(dev, directories[i], 0755));
  for (int i = 0; i < 6; ++i) must("mknod", mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
}

static void change_root(void) {
  static const char *const masked[] = {
      "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
      "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"};
  static const char *const readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  const unsigned nosuid = MOUNT_ATTR_NOSUID, kernel = nosuid | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

  set_attributes(AT_FDCWD, "/", 0, 0, MS_PRIVATE);
  const int directory = open_plain(rootfs, O_PATH | O_DIRECTORY);
  const int root = open_tree(directory, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH);
  const int null = open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLOEXEC);
  must("open_tree", root);
  put_on_root(root);
  ensure(root, "/proc");
  ensure(root, "/dev");
  if (kind == FULL_NET) ensure(root, "/sys");
  set_attributes(root, "", AT_EMPTY_PATH, nosuid | MOUNT_ATTR_NODEV, 0);
  const int empty = NEW_MOUNT("tmpfs", kernel | MOUNT_ATTR_RDONLY, "mode", "0555", "size", "4096",);
  put_in(empty, root, "/dev");
  put_in(NEW_MOUNT("proc", kernel,), root, "/proc");
  const int dev = NEW_MOUNT("tmpfs", nosuid | MOUNT_ATTR_NOEXEC, "size", "65536", "mode", "755",);
  fill_dev(dev);
  put_in(dev, root, "/dev");
  put_in(NEW_MOUNT("devpts", nosuid | MOUNT_ATTR_NOEXEC, "newinstance", "", "ptmxmode", "0666", "mode", "0620", "gid", "5",), root, "/dev/pts");
  put_in(NEW_MOUNT("tmpfs", nosuid | MOUNT_ATTR_NODEV, "size", "67108864", "mode", "1777",), root, "/dev/shm");
  if (kind >= FULL) put_in(NEW_MOUNT("mqueue", kernel,), root, "/dev/mqueue");
  if (kind == FULL_NET) put_in(NEW_MOUNT("sysfs", kernel | MOUNT_ATTR_RDONLY,), root, "/sys");
  for (size_t i = 0; i < sizeof masked / sizeof *masked; ++i) mask(root, masked[i], empty, null);
  for (size_t i = 0; i < sizeof readonly / sizeof *readonly; ++i) make_readonly(root, readonly[i]);
  must("fchdir", fchdir(root));
  must("pivot_root", syscall(SYS_pivot_root, ".", "."));
  must("umount", umount2(".", MNT_DETACH));
  must("chdir", chdir("/"));
}

static void bring_loopback_up(void) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  must("loopback", ioctl(fd, SIOCSIFFLAGS, &request));
  close(fd);
}

static void limit(int resource, rlim_t value) {
  const struct rlimit limit = {value, value};
  must("prlimit", syscall(SYS_prlimit64, 0, resource, &limit, NULL));
}

static void drop_privileges(void) {
  for (int i = 0; prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0;) ++i;
  const unsigned id = kind == BARE ? 65534 : 0;
  must("setgroups", syscall(SYS_setgroups, 0, NULL));
  must("setresgid", syscall(SYS_setresgid, id, id, id));
  must("setresuid", syscall(SYS_setresuid, id, id, id));
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const struct __user_cap_data_struct none[2] = {{0}};
  must("capset", syscall(SYS_capset, &header, none));
  must("prctl", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  must("prctl", prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
}

static void place_stdio(void) {
  int high[3];
  for (int i = 0; i < 3; ++i) high[i] = fcntl(null_fd, F_DUPFD_CLOEXEC, 3);
  for (int i = 0; i < 3; ++i) dup2(high[i], i);
  syscall(SYS_close_range, 4, ~0U, 0);
}

static _Noreturn void become_command(const int *tasks) {
  for (; *tasks >= 0; ++tasks) must("tasks", write(*tasks, "0", 1));
  if (kind >= FULL) must("unshare", unshare(CLONE_NEWCGROUP));
  setsid();
  umask(0);
  if (kind == FULL_NET) bring_loopback_up();
  if (kind >= FULL) must("sethostname", sethostname("contained", 9));
  limit(RLIMIT_NOFILE, 1024);
  limit(RLIMIT_CORE, 0);
  uint8_t processors[128];
  memset(processors, 0xff, sizeof processors);
  must("sched_setaffinity", syscall(SYS_sched_setaffinity, 0, sizeof processors, processors));
  if (kind >= PID_MNT) change_root();
  drop_privileges();
  must("chdir", chdir("/"));
  char where[4096];
  must("getcwd", syscall(SYS_getcwd, where, sizeof where));
  umask(022);
  place_stdio();
  const uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
  char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
  execve(file, (char *const[]){(char *)file, NULL}, environment);
  must(file, -1);
  _exit(127);
}

