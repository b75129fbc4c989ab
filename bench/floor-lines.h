// What both floors are apart from their system calls: lines on stdin, `COUNT FLIGHT [WORD…]`, of which each does COUNT runs
// with FLIGHT at a time, of what the floor is for or else of the command line WORD…, and is answered with the nanoseconds
// all took. A command line is started from here so that no peer is charged for Node's fork.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 64 };
static int null_fd;

static void must(const char *what, long result) {
  if (result >= 0) return;
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  _exit(126);
}

// `@` in a path is the number of the slot, since runs in flight need a group each.
static const char *in_slot(const char *path, int slot) {
  static char copy[4096];
  const char *at = strchr(path, '@');
  if (!at) return path;
  snprintf(copy, sizeof copy, "%.*s%d%s", (int)(at - path), path, slot, at + 1);
  return copy;
}

// The words are made before the fork: the child shares our memory until execve.
static pid_t start_words(char **words, int slot) {
  char copies[WORDS][512], *argv[WORDS + 1] = {0};
  for (int i = 0; words[i]; ++i) argv[i] = strcpy(copies[i], in_slot(words[i], slot));
  const pid_t pid = vfork();
  if (pid == 0) {
    for (int i = 0; i < 3; ++i) dup2(null_fd, i);
    execvp(argv[0], argv);
    _exit(127);
  }
  must("vfork", pid);
  return pid;
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

static int answer_lines(void (*run)(int count, int flight, char **words)) {
  static char line[16384];
  null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  while (fgets(line, sizeof line, stdin)) {
    char *words[WORDS] = {0};
    const int count = atoi(strtok(line, " \n")), flight = atoi(strtok(NULL, " \n"));
    for (int i = 0; i < WORDS - 1 && (words[i] = strtok(NULL, " \n")); ++i) {
    }
    const uint64_t before = now();
    run(count, flight, words[0] ? words : NULL);
    printf("%llu\n", (unsigned long long)(now() - before));
    fflush(stdout);
  }
  return 0;
}
