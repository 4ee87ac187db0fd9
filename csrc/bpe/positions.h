// Memory for the positions of pairs: written once, read in the merge that is their last use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace groundup::bpe {

class Positions {
 public:
  struct Range {
    std::uint32_t* begin = nullptr;
    std::uint32_t block = kShared;
  };

  // Room for n positions, not set to anything; it never moves.
  Range allocate(std::size_t n) {
    if (n >= kLarge) {
      blocks_.emplace_back(new std::uint32_t[n]);
      return {blocks_.back().get(), static_cast<std::uint32_t>(blocks_.size() - 1)};
    }
    if (n > n_left_) {
      blocks_.emplace_back(new std::uint32_t[kBlock]);
      next_ = blocks_.back().get();
      n_left_ = kBlock;
    }
    std::uint32_t* const begin = next_;
    next_ += n;
    n_left_ -= n;
    return {begin, kShared};
  }
  // Gives a range back whose block is its own; what shares one stays.
  void release(std::uint32_t block) {
    if (block != kShared) blocks_[block].reset();
  }

 private:
  static constexpr std::uint32_t kShared = 0xFFFFFFFFu;
  static constexpr std::size_t kBlock = std::size_t{1} << 16, kLarge = kBlock / 128;
  std::vector<std::unique_ptr<std::uint32_t[]>> blocks_;
  std::uint32_t* next_ = nullptr;
  std::size_t n_left_ = 0;
};

}  // namespace groundup::bpe
