#include "pages.h"

#include <stdint.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace groundup {

void advise_huge_pages(void* buffer, size_t n_bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = uintptr_t{2} << 20;
  constexpr size_t worth_it = 4 * page;
  if (n_bytes < worth_it) return;
  // Whole pages inside the buffer only: what lies beside it is not ours to advise on.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(buffer) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(buffer) + n_bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)buffer, (void)n_bytes;
#endif
}

}  // namespace groundup
