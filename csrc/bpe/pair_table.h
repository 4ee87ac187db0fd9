// A hash table from a pair of ids to a value: open addressing, linear probing, no removal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bpe/chunk_key.h"

namespace groundup::bpe {

inline std::uint64_t pack_pair(std::uint32_t left, std::uint32_t right) noexcept {
  return std::uint64_t{left} << 32 | right;
}

template <class Value>
class PairTable {
 public:
  explicit PairTable(std::size_t expected = 0) {
    std::size_t capacity = 1024;
    while (capacity * 2 < expected * 3) capacity *= 2;
    slots_.resize(capacity);
  }

  // Asks for the memory where find will look.
  void prefetch(std::uint32_t left, std::uint32_t right) const noexcept {
    __builtin_prefetch(&slots_[home(left, right, slots_.size() - 1)]);
  }

  // Null when the pair has no value.
  const Value* find(std::uint32_t left, std::uint32_t right) const noexcept {
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t slot = home(left, right, mask);; slot = (slot + 1) & mask) {
      if (slots_[slot].left == left && slots_[slot].right == right) return &slots_[slot].value;
      if (slots_[slot].left == kFree) return nullptr;
    }
  }

  // Gives the pair a value unless it has one.
  void insert(std::uint32_t left, std::uint32_t right, const Value& value) {
    if ((size_ + 1) * 3 > slots_.size() * 2) grow();
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = home(left, right, mask);
    for (; slots_[slot].left != kFree; slot = (slot + 1) & mask)
      if (slots_[slot].left == left && slots_[slot].right == right) return;
    ++size_;
    slots_[slot] = {left, right, value};
  }

 private:
  static constexpr std::uint32_t kFree = 0xFFFFFFFFu;  // no id

  struct Slot {
    std::uint32_t left = kFree;
    std::uint32_t right = 0;
    Value value{};
  };

  static std::size_t home(std::uint32_t left, std::uint32_t right, std::size_t mask) noexcept {
    return mix(pack_pair(left, right) ^ 0x9E3779B97F4A7C15u, 0xD1B54A32D192ED03u) & mask;
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    const std::size_t mask = slots_.size() - 1;
    for (const Slot& entry : old) {
      if (entry.left == kFree) continue;
      std::size_t slot = home(entry.left, entry.right, mask);
      while (slots_[slot].left != kFree) slot = (slot + 1) & mask;
      slots_[slot] = entry;
    }
  }

  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace groundup::bpe
