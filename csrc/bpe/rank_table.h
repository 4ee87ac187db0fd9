// The rank of a pair of ids, in eight bytes a slot.
//
// Merging a chunk that was not seen before is a chain of reads from this table, so what it costs
// is how much of the table the caches hold. A pair of 24-bit ids is turned, one to one, into 48
// bits: the top ones are the group of four slots where it belongs, and only the others are stored,
// with how many groups from there it stands and its rank. A group is compared without a branch:
// whether a pair has a rank cannot be foretold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "bpe/table_memory.h"

namespace groundup::bpe {

class RankTable {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;
  static constexpr std::size_t kMost = std::size_t{1} << 24;  // ids and ranks are below

  explicit RankTable(std::size_t expected) {
    int bits = kMinBits;
    while ((kGroup << bits) / 2 < expected) ++bits;
    clear(bits);
  }

  std::uint32_t find(std::uint32_t left, std::uint32_t right) const noexcept {
    const std::uint64_t turned = turn(left, right);
    std::uint64_t wanted = turned & rest_mask_;
    for (std::size_t group = turned >> rest_bits_;; group = next(group), wanted += rest_mask_ + 1) {
      const std::uint64_t* const slots = &slots_[group * kGroup];
      std::uint32_t found = kNone;
      for (std::size_t i = 0; i < kGroup; ++i)
        if (slots[i] >> kRankBits == wanted) found = slots[i] & (kMost - 1);
      if (__builtin_expect((found != kNone) | (slots[kGroup - 1] == kFree), 1)) return found;
    }
  }

  // Asks for the memory that finding the pair will read.
  void prefetch(std::uint32_t left, std::uint32_t right) const noexcept {
    __builtin_prefetch(&slots_[(turn(left, right) >> rest_bits_) * kGroup]);
  }

  // Gives the pair a rank unless it has one.
  void insert(std::uint32_t left, std::uint32_t right, std::uint32_t rank) {
    while (!try_insert(turn(left, right), rank)) grow();
  }

 private:
  static constexpr int kPairBits = 48, kRankBits = 24, kMinBits = 10;
  static constexpr std::size_t kGroup = 4;
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};

  static std::uint64_t turn(std::uint32_t left, std::uint32_t right) noexcept {
    constexpr std::uint64_t kOdd = 0x9E3779B97F4B;  // so that each pair has its own product
    return (std::uint64_t{left} << 24 | right) * kOdd & ((std::uint64_t{1} << kPairBits) - 1);
  }

  std::size_t next(std::size_t group) const noexcept {
    return (group + 1) & (slots_.size() / kGroup - 1);
  }

  void clear(int bits) {
    TableMemory<std::uint64_t>(kGroup << bits).swap(slots_);
    std::fill(slots_.begin(), slots_.end(), kFree);
    rest_bits_ = kPairBits - bits;
    rest_mask_ = (std::uint64_t{1} << rest_bits_) - 1;
  }

  // False where it would stand too far from its place for the bits that say so.
  bool try_insert(std::uint64_t turned, std::uint32_t rank) noexcept {
    const std::uint64_t most = (std::uint64_t{1} << (64 - kRankBits - rest_bits_)) - 1;
    std::size_t group = turned >> rest_bits_;
    for (std::uint64_t away = 0; away < most; ++away, group = next(group)) {
      const std::uint64_t wanted = away << rest_bits_ | (turned & rest_mask_);
      for (std::size_t i = 0; i < kGroup; ++i) {
        std::uint64_t& slot = slots_[group * kGroup + i];
        if (slot >> kRankBits == wanted) return true;
        if (slot != kFree) continue;
        slot = wanted << kRankBits | rank;
        return true;
      }
    }
    return false;
  }

  void grow() {
    TableMemory<std::uint64_t> old;
    old.swap(slots_);
    const int old_rest = rest_bits_;
    const std::size_t old_groups = old.size() / kGroup;
    int bits = kPairBits - old_rest;
    for (bool all = false; !all;) {
      clear(++bits);
      all = true;
      for (std::size_t slot = 0; all && slot < old.size(); ++slot) {
        if (old[slot] == kFree) continue;
        const std::uint64_t stored = old[slot] >> kRankBits;
        const std::uint64_t home = (slot / kGroup - (stored >> old_rest)) & (old_groups - 1);
        const std::uint64_t rest = stored & ((std::uint64_t{1} << old_rest) - 1);
        all = try_insert(home << old_rest | rest, old[slot] & (kMost - 1));
      }
    }
  }

  TableMemory<std::uint64_t> slots_;
  int rest_bits_;
  std::uint64_t rest_mask_;
};

}  // namespace groundup::bpe
