// SPDX-License-Identifier: Apache-2.0
// How many threads a long call uses.
#pragma once

namespace ms_nsa {

constexpr int kMostThreads = 1024;

// What SetThreads chose, else MS_NSA_NUM_THREADS, else one for each processor after UseProcessors, else as
// many as OpenMP gives. Throws std::runtime_error for an MS_NSA_NUM_THREADS that is no number from 1 to
// kMostThreads.
int Threads();

// For the whole process, unlike omp_set_num_threads, which affects only its caller; 0 undoes it.
void SetThreads(int number);

// OMP_NUM_THREADS is not the user's: MindSpore sets it to 1 for itself, which other OpenMP runtimes and child
// processes would take for their own.
void UseProcessors();

// "set", "MS_NSA_NUM_THREADS" or "default".
const char* ThreadsSource();

}  // namespace ms_nsa
