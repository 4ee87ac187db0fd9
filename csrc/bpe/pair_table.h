// A hash table from a pair of ids to a 32-bit value: open addressing, linear probing, no removal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bpe/chunk_key.h"

namespace groundup::bpe {

inline std::uint64_t pack_pair(std::uint32_t left, std::uint32_t right) noexcept {
  return std::uint64_t{left} << 32 | right;
}
inline std::uint32_t left_of(std::uint64_t pair) noexcept { return pair >> 32; }
inline std::uint32_t right_of(std::uint64_t pair) noexcept {
  return static_cast<std::uint32_t>(pair);
}

class PairTable {
 public:
  static constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;

  explicit PairTable(std::size_t expected = 0) {
    std::size_t capacity = 1024;
    while (capacity * 2 < expected * 3) capacity *= 2;
    slots_.resize(capacity);
  }

  std::uint32_t find(std::uint64_t pair) const noexcept {
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t slot = home(pair, mask);; slot = (slot + 1) & mask) {
      if (slots_[slot].value == kAbsent) return kAbsent;
      if (slots_[slot].holds(pair)) return slots_[slot].value;
    }
  }

  // The value of `pair`, which becomes `value` when it had none.
  std::uint32_t& find_or_insert(std::uint64_t pair, std::uint32_t value) {
    if ((size_ + 1) * 3 > slots_.size() * 2) grow();
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = home(pair, mask);
    for (; slots_[slot].value != kAbsent; slot = (slot + 1) & mask)
      if (slots_[slot].holds(pair)) return slots_[slot].value;
    ++size_;
    slots_[slot] = {left_of(pair), right_of(pair), value};
    return slots_[slot].value;
  }

 private:
  struct Slot {  // 12 bytes: three ids' worth, not a padded 16
    std::uint32_t left = 0;
    std::uint32_t right = 0;
    std::uint32_t value = kAbsent;
    bool holds(std::uint64_t pair) const noexcept {
      return left == left_of(pair) && right == right_of(pair);
    }
  };

  static std::size_t home(std::uint64_t pair, std::size_t mask) noexcept {
    return mix(pair ^ 0x9E3779B97F4A7C15u, 0xD1B54A32D192ED03u) & mask;
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    const std::size_t mask = slots_.size() - 1;
    for (const Slot& entry : old) {
      if (entry.value == kAbsent) continue;
      std::size_t slot = home(pack_pair(entry.left, entry.right), mask);
      while (slots_[slot].value != kAbsent) slot = (slot + 1) & mask;
      slots_[slot] = entry;
    }
  }

  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace groundup::bpe
