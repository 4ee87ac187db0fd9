#include "bpe/id_buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "pages.h"

namespace groundup::bpe {

IdBuffer::~IdBuffer() { std::free(ids_); }

IdBuffer::IdBuffer(IdBuffer&& other) noexcept
    : ids_(other.ids_), size_(other.size_), capacity_(other.capacity_) {
  other.ids_ = nullptr;
  other.size_ = other.capacity_ = 0;
}

std::uint32_t* IdBuffer::room(std::size_t n, std::size_t expected) {
  if (capacity_ - size_ < n) {
    const std::size_t capacity = std::max(size_ + std::max(n, expected),
                                          capacity_ + (expected ? capacity_ / 8 : capacity_ / 2));
    if (capacity > std::size_t{1} << 60) throw std::bad_alloc();
    void* grown = std::realloc(ids_, capacity * sizeof *ids_);
    if (grown == nullptr) throw std::bad_alloc();
    ids_ = static_cast<std::uint32_t*>(grown);
    capacity_ = capacity;
    advise_huge_pages(ids_, capacity * sizeof *ids_);
  }
  return ids_ + size_;
}

std::uint32_t* IdBuffer::release() {
  void* cut = std::realloc(ids_, std::max<std::size_t>(size_, 1) * sizeof *ids_);
  if (cut == nullptr) throw std::bad_alloc();
  ids_ = nullptr;
  size_ = capacity_ = 0;
  return static_cast<std::uint32_t*>(cut);
}

std::uint16_t* IdBuffer::release_narrow() {
  // In place: a block is read before the place that it goes to, at or before itself, is written.
  constexpr std::size_t kBlock = 256;
  std::uint16_t narrow[kBlock];
  for (std::size_t at = 0; at < size_; at += kBlock) {
    const std::size_t n = std::min(kBlock, size_ - at);
    for (std::size_t i = 0; i < n; ++i) narrow[i] = static_cast<std::uint16_t>(ids_[at + i]);
    std::memcpy(reinterpret_cast<char*>(ids_) + at * sizeof *narrow, narrow, n * sizeof *narrow);
  }
  size_ = (size_ + 1) / 2;
  return reinterpret_cast<std::uint16_t*>(release());
}

}  // namespace groundup::bpe
