// Memory for tables that are read at random places: zeroed, and on huge pages where it is large,
// since a place that no page table entry is at hand for costs as much as one that no cache holds.
// From a megabyte on it is the system's and goes back to it at once: what a thread frees to malloc
// stays with the thread's arena, and other threads' tables take as much again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace groundup::bpe {

template <class T>
class TableMemory {
  static_assert(std::is_trivially_copyable<T>::value, "zeroed bytes are its first value");

 public:
  TableMemory() = default;
  TableMemory(TableMemory&& other) noexcept { swap(other); }
  TableMemory& operator=(TableMemory&& other) noexcept {
    TableMemory taken(std::move(other));
    swap(taken);
    return *this;
  }
  // n values of zeroed bytes, n > 0. The system zeroes a page when it is first touched.
  explicit TableMemory(std::size_t n) : size_(n) {
    if (n > (std::size_t{1} << 48) / sizeof(T)) throw std::bad_alloc();
    const std::size_t n_bytes = n * sizeof(T);
    const std::size_t alignment = n_bytes < kHugePage ? std::max(kLine, alignof(T)) : kHugePage;
    memory_ = zeroed(n_bytes + alignment);
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
    void* const begin = static_cast<char*>(memory_.get()) + (alignment - address % alignment);
    if (alignment == kHugePage) advise_huge_pages(begin, n_bytes);
    begin_ = static_cast<T*>(begin);
  }

  T& operator[](std::size_t i) noexcept { return begin_[i]; }
  const T& operator[](std::size_t i) const noexcept { return begin_[i]; }
  T* begin() noexcept { return begin_; }
  T* end() noexcept { return begin_ + size_; }
  const T* begin() const noexcept { return begin_; }
  const T* end() const noexcept { return begin_ + size_; }
  std::size_t size() const noexcept { return size_; }

  void swap(TableMemory& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(begin_, other.begin_);
    std::swap(size_, other.size_);
  }

 private:
  static constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
  static constexpr std::size_t kMapped = std::size_t{1} << 20;
  struct Free {
    std::size_t mapped = 0;  // bytes of a mapping; 0: malloc's
    void operator()(void* memory) const noexcept {
#if defined(__linux__)
      if (mapped) {
        munmap(memory, mapped);
        return;
      }
#endif
      std::free(memory);
    }
  };
  using Memory = std::unique_ptr<void, Free>;

  static Memory zeroed(std::size_t n_bytes) {
#if defined(__linux__)
    if (n_bytes >= kMapped) {
      void* const mapped =
          mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (mapped == MAP_FAILED) throw std::bad_alloc();
      return Memory(mapped, Free{n_bytes});
    }
#endif
    Memory memory(std::calloc(n_bytes, 1));
    if (!memory) throw std::bad_alloc();
    return memory;
  }

  Memory memory_;
  T* begin_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace groundup::bpe
