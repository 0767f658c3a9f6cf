// SPDX-License-Identifier: Apache-2.0
#include "thread_number.h"

#include <omp.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace ms_nsa {
namespace {

std::atomic<int> chosen{0};
std::atomic<bool> one_for_each_processor{false};

// 0 if the variable is not set, or empty.
int OfEnvironment() {
  const char* text = std::getenv("MS_NSA_NUM_THREADS");
  if (text == nullptr || *text == '\0') return 0;
  int number = 0;
  for (const char* digit = text; *digit != '\0'; ++digit) {
    const bool is_digit = *digit >= '0' && *digit <= '9';
    number = is_digit && number <= kMostThreads ? 10 * number + (*digit - '0') : kMostThreads + 1;
  }
  if (number >= 1 && number <= kMostThreads) return number;
  throw std::runtime_error("ms_nsa: MS_NSA_NUM_THREADS must be a number from 1 to " +
                           std::to_string(kMostThreads) + ", got " + text);
}

// The environment is read once: other threads may change it.
int Given() {
  static const int given = OfEnvironment();
  return given;
}

}  // namespace

int Threads() {
  const int number = chosen;
  if (number > 0) return number;
  if (Given() > 0) return Given();
  return one_for_each_processor ? omp_get_num_procs() : omp_get_max_threads();
}

void SetThreads(int number) {
  chosen = number;
}

void UseProcessors() {
  one_for_each_processor = true;
}

const char* ThreadsSource() {
  return chosen > 0 ? "set" : Given() > 0 ? "MS_NSA_NUM_THREADS" : "default";
}

}  // namespace ms_nsa
