#include "parallel.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace groundup {
namespace {

bool forked_child = false;

}  // namespace

int usable_threads() noexcept {
#if defined(_OPENMP)
  return forked_child ? 1 : omp_get_max_threads();
#else
  return 1;
#endif
}

void run_serially() noexcept { forked_child = true; }

void watch_forks() noexcept {
#if defined(__unix__) || defined(__APPLE__)
  pthread_atfork(nullptr, nullptr, run_serially);
#endif
}

}  // namespace groundup
