"""A wall clock that goes back, for processes that a test starts.

A library in front of the system's answers what C and Python ask of the time: it is hours late
when the process starts, and every two seconds it is set back by one, as by a time server. The
monotonic clock goes on. (Set back by an hour, TensorFlow's own pipelines may wait for an hour.)
"""

import shutil
import subprocess

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int real(clockid_t clock, struct timespec *found) {
  static int (*next)(clockid_t, struct timespec *);
  if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
  return next(clock, found);
}

static time_t lost(void) {
  static time_t begin;
  struct timespec now;
  const char *hours = getenv("CLOCK_HOURS_BACK");
  real(CLOCK_MONOTONIC, &now);
  if (!begin) begin = now.tv_sec;
  return 3600 * (hours ? atol(hours) : 0) + (now.tv_sec - begin) / 2;
}

int clock_gettime(clockid_t clock, struct timespec *found) {
  int code = real(clock, found);
  if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    found->tv_sec -= lost();
  return code;
}

int gettimeofday(struct timeval *found, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  found->tv_sec = now.tv_sec;
  found->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *found) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (found) *found = now.tv_sec;
  return now.tv_sec;
}
"""


def environment(folder, hours=0):
    """Variables of a process whose clock goes back, from so many hours ago on."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = folder / "clock.so"
    if not library.exists():
        (folder / "clock.c").write_text(SOURCE)
        made = [compiler, "-shared", "-fPIC", "-O1", "-o", library, folder / "clock.c", "-ldl"]
        done = subprocess.run(made, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no library could be made: {done.stderr.strip().splitlines()[-1]}")
    return {"LD_PRELOAD": str(library), "CLOCK_HOURS_BACK": str(hours)}
