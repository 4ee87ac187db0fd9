// Threads for the kernels: OpenMP, on the runtime that torch has already loaded, so that
// torch.set_num_threads is obeyed and the process holds one pool.
#pragma once

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace groundup {

// 1 in a child forked from a process that already ran a parallel region: its pool's threads did
// not survive the fork, and a region there would wait for them for ever.
int usable_threads() noexcept;

// Which thread of the innermost region this is, from 0.
static inline int thread_number() noexcept {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// One thread from now on: for a child that was forked before the core was loaded into it.
void run_serially() noexcept;

// Call once, at import.
void watch_forks() noexcept;

}  // namespace groundup
