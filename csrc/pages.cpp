#include "pages.h"

#include <stdint.h>

#include <atomic>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace groundup {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t whole_pages(size_t n_bytes) { return (n_bytes + kHugePage - 1) / kHugePage * kHugePage; }

// An atomic and no lock: a child forked while another thread holds a lock would wait for ever.
std::atomic<Pages::Block*> spare{nullptr};

#if defined(__linux__) && defined(MADV_FREE) && defined(MADV_HUGEPAGE)

void* allocate(size_t capacity) {
  // One huge page more than needed, and what lies before and after the aligned part given back.
  const size_t reserved = capacity + kHugePage;
  void* const all =
      mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) throw std::bad_alloc();
  const uintptr_t first = reinterpret_cast<uintptr_t>(all);
  const uintptr_t begin = whole_pages(first);
  if (begin > first) munmap(all, begin - first);
  if (const size_t rest = first + reserved - (begin + capacity))
    munmap(reinterpret_cast<void*>(begin + capacity), rest);
  madvise(reinterpret_cast<void*>(begin), capacity, MADV_HUGEPAGE);
  return reinterpret_cast<void*>(begin);
}

void free_block(void* begin, size_t capacity) { munmap(begin, capacity); }

bool mark_free(void* begin, size_t capacity) { return madvise(begin, capacity, MADV_FREE) == 0; }

#else

constexpr std::align_val_t kAlignment{64};

void* allocate(size_t capacity) { return ::operator new(capacity, kAlignment); }

void free_block(void* begin, size_t) { ::operator delete(begin, kAlignment); }

bool mark_free(void*, size_t) { return false; }

#endif

}  // namespace

struct Pages::Block {
  explicit Block(size_t capacity) : capacity(capacity), begin(allocate(capacity)) {}
  ~Block() { free_block(begin, capacity); }
  Block(const Block&) = delete;
  size_t capacity;
  void* begin;
};

Pages::Pages(size_t n_bytes) : size_(n_bytes), block_(spare.exchange(nullptr)) {
  const size_t needed = whole_pages(n_bytes);
  // One that is too large would be resident for nothing.
  if (block_ && needed <= block_->capacity && block_->capacity / 2 <= needed) return;
  delete block_;
  if (n_bytes == 0 || n_bytes > SIZE_MAX / 2) throw std::bad_alloc();
  block_ = new Block(needed);
}

Pages::~Pages() {
  delete (mark_free(block_->begin, block_->capacity) ? spare.exchange(block_) : block_);
}

void* Pages::begin() const noexcept { return block_->begin; }

void advise_huge_pages(void* buffer, size_t n_bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr size_t worth_it = 4 * kHugePage;
  if (n_bytes < worth_it) return;
  // Whole pages inside the buffer only: what lies beside it is not ours to advise on.
  const uintptr_t begin = whole_pages(reinterpret_cast<uintptr_t>(buffer));
  const uintptr_t end = (reinterpret_cast<uintptr_t>(buffer) + n_bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)buffer, (void)n_bytes;
#endif
}

}  // namespace groundup
