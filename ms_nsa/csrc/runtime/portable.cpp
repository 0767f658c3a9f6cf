// SPDX-License-Identifier: Apache-2.0
// What the library would take from glibc 2.29 and later, from libstdc++ of GCC 9 and later and from libgomp
// of GCC 9 and later, for those before (MS_NSA_PORTABLE in CMakeLists.txt): definitions of its own, which
// nothing outside of it sees.
#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#include <new>

// glibc 2.34 moved it from a library of its own, and knows it under its first version as well.
#if defined(__x86_64__)
__asm__(".symver first_dlsym, dlsym@GLIBC_2.2.5");
#elif defined(__aarch64__)
__asm__(".symver first_dlsym, dlsym@GLIBC_2.17");
#endif

namespace std {

void __throw_bad_array_new_length() {
  throw bad_array_new_length();
}

}  // namespace std

extern "C" {

decltype(dlsym) first_dlsym;

// libstdc++ counts references without atomic instructions while this says that there is one thread.
char __libc_single_threaded = 0;

// Waits by another clock: for as long as is left, by the one that every glibc takes.
int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const timespec* until) {
  constexpr long kSecond = 1000000000;
  timespec now, end;
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += until->tv_sec - now.tv_sec;
  end.tv_nsec += until->tv_nsec - now.tv_nsec;
  if (end.tv_nsec < 0) end.tv_nsec += kSecond, --end.tv_sec;
  if (end.tv_nsec >= kSecond) end.tv_nsec -= kSecond, ++end.tv_sec;
  return pthread_cond_timedwait(condition, mutex, &end);
}

// Without it a team's threads spin on for a while.
int omp_pause_resource_all(int kind) {
  using Pause = int (*)(int);
  static const auto pause = reinterpret_cast<Pause>(first_dlsym(RTLD_DEFAULT, "omp_pause_resource_all"));
  return pause == nullptr ? -1 : pause(kind);
}
}
