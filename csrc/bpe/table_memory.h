// Memory for tables that are read at random places: zeroed, and on huge pages where it is large,
// since a place that no page table entry is at hand for costs as much as one that no cache holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "pages.h"

namespace groundup::bpe {

template <class T>
class TableMemory {
  static_assert(std::is_trivially_copyable<T>::value, "zeroed bytes are its first value");

 public:
  TableMemory() = default;
  // n values of zeroed bytes, n > 0. The system zeroes a page when it is first touched.
  explicit TableMemory(std::size_t n) : size_(n) {
    if (n > (std::size_t{1} << 48) / sizeof(T)) throw std::bad_alloc();
    const std::size_t n_bytes = n * sizeof(T);
    const std::size_t alignment = n_bytes < kHugePage ? kLine : kHugePage;
    memory_.reset(std::calloc(n_bytes + alignment, 1));
    if (!memory_) throw std::bad_alloc();
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
    void* const begin = static_cast<char*>(memory_.get()) + (alignment - address % alignment);
    if (alignment == kHugePage) advise_huge_pages(begin, n_bytes);
    begin_ = static_cast<T*>(begin);
  }

  T& operator[](std::size_t i) noexcept { return begin_[i]; }
  const T& operator[](std::size_t i) const noexcept { return begin_[i]; }
  T* begin() noexcept { return begin_; }
  T* end() noexcept { return begin_ + size_; }
  std::size_t size() const noexcept { return size_; }

  void swap(TableMemory& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(begin_, other.begin_);
    std::swap(size_, other.size_);
  }

 private:
  static constexpr std::size_t kLine = 64, kHugePage = std::size_t{2} << 20;
  struct Free {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };

  std::unique_ptr<void, Free> memory_;
  T* begin_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace groundup::bpe
