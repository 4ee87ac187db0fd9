// Memory for the positions of pairs: written once, read in the merge that is their last use.
//
// Ranges lie in blocks of whole pages that never move. A block goes back to the system when the
// last pair that has a range in it is merged or has become too rare to be; its addresses are not
// used again until all of its region is free, for there are enough of them. Pairs about as frequent
// have their turn at about one time, so they share blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace groundup::bpe {

class Positions {
 public:
  struct Range {
    std::uint32_t* begin = nullptr;
    std::uint32_t block = 0;
  };

  Positions() = default;
  ~Positions() { clear(); }
  Positions(const Positions&) = delete;
  Positions& operator=(const Positions&) = delete;
  void clear() noexcept;

  // Room for n > 0 positions of a pair that weighs so much, not set to anything; it never moves.
  // Throws std::bad_alloc.
  Range allocate(std::size_t n, std::int64_t weight) {
    if (n >= kLarge) {
      const std::uint32_t block = take(n);
      return {blocks_[block].begin, block};
    }
    Open& open = open_[63 - __builtin_clzll(static_cast<std::uint64_t>(weight) | 1)];
    if (n > open.n_left) begin_block(&open);
    std::uint32_t* const begin = open.next;
    open.next += n;
    open.n_left -= n;
    ++blocks_[open.block].n_ranges;
    return {begin, open.block};
  }
  // Gives a range back, once.
  void release(std::uint32_t block) noexcept {
    if (--blocks_[block].n_ranges == 0) give_back(blocks_[block]);
  }

 private:
  struct Block {
    std::uint32_t* begin;
    std::size_t n_bytes;
    std::uint32_t region;
    std::uint32_t n_ranges;  // not given back; that the block is open counts as one
  };
  struct Region {
    unsigned char* begin;
    std::size_t n_bytes;
    std::size_t n_blocks;  // not given back; that the region is the last counts as one
  };
  struct Open {
    std::uint32_t* next = nullptr;
    std::size_t n_left = 0;
    std::uint32_t block = 0;
  };
  static constexpr std::size_t kBlock = std::size_t{1} << 11, kLarge = kBlock / 2;

  std::uint32_t take(std::size_t n);
  void begin_block(Open* open);
  void begin_region(std::size_t n_bytes);
  void give_back(Block& block) noexcept;
  void leave(Region& region) noexcept;

  std::vector<Block> blocks_;
  std::vector<Region> regions_;
  std::size_t n_left_ = 0;  // bytes of the last region
  Open open_[64];           // by the bits of a weight
};

}  // namespace groundup::bpe
