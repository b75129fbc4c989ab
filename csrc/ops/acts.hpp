// The ops that are more than one system call, by kernel concept. Each returns 0 or an errno, or an fd where it says so.
#pragma once

#include "ops.hpp"

namespace contained {

// mounts.cc
enum { kFile, kDirectory, kLike };  // ensure: which it is to be, or as the thing that `like` is open on
int ensure(int root, const char* path, int kind, int like);
int make_fsmount(const char* type, const char* options, int64_t count, unsigned attributes);  // → fd, or -1 with errno
int make_overlay(const Op& op, const State& state);                                            // → fd, or -1 with errno
int move_mount_to(int mount, int root, const char* path);
int mask(int root, const char* path, int directory, int file);
int make_readonly(int root, const char* path);
int pivot(int root, int64_t stacked);

// network.cc
int loopback_up();

// credentials.cc
int find_user(const char* user, const char* group, State& state);
int set_groups(const char* list, const State& state);
int drop_bounding_set(uint64_t keep);
int set_capabilities(uint64_t permitted, uint64_t inheritable);
int raise_ambient(uint64_t capabilities);
int run_newidmap(const char* tool, const char* map, pid_t target);

// scheduling.cc
int set_affinity(const char* hex);

// cgroups.cc
int remove_cgroup(const char* path, bool tree);
int kill_cgroup(const char* path, bool unified);
int refuse_line(const char* path, const char* line);      // EBUSY when the file has that line
int move_members(const char* from, const char* to);

// devices.cc
int attach_devices(int group, const char* program);

// names.cc
int write_at(int at, const char* path, const char* text);
int create_file(const char* path, const char* text);  // which is only its owner's
int chdir_inside(const char* path);

}  // namespace contained
