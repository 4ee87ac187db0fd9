// The pairs that may be merged: what each counts, where it stands, and which is the best of them.
//
// A pair's count only falls once it is entered, and so does what its first position is worth, so an
// entry of the queue that is out of date is too good: it is met early, and queued again with the
// truth. docs/bpe.md shows that the best one is never missed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "bpe/cells.h"
#include "bpe/merge.h"
#include "bpe/pair_table.h"
#include "bpe/positions.h"

namespace groundup::bpe {

// The text in training: the cells, and how long a token is in them. docs/bpe.md, "No links".
struct TokenText {
  std::vector<Cell> cells;
  std::vector<std::uint32_t> lengths;  // of tokens, in bytes, by id

  bool stands_at(std::uint32_t at, std::uint32_t left, std::uint32_t right) const noexcept {
    const std::uint32_t after = at + lengths[left];
    return cells[at] == left && cells[after - 1] == left && cells[after] == right;
  }
};

struct Pair {
  std::int64_t count;          // windows now, each weighted by its chunk's count
  const std::uint32_t* begin;  // its occurrences when it was created, begin[0, n)
  std::uint32_t n;
  std::uint32_t block;  // of their memory
  std::uint32_t left;
  std::uint32_t right;
};

// Which pairs are out, whatever they count later. They change only where the queue says.
struct Admission {
  std::int64_t least = 1;    // of pairs to be merged
  std::int64_t entered = 1;  // of pairs in the queue, for now; never below `least`
  std::uint64_t max_length = ~std::uint64_t{0};  // of tokens
};

class PairQueue {
 public:
  // Address space is taken for about as many pairs as `n_merges` enter: memory that is not written
  // costs nothing, and a vector that doubles stands three times at its peak.
  PairQueue(const TokenText& text, const Admission& admitted, Ties ties, std::size_t n_merges)
      : text_(text),
        admitted_(admitted),
        ties_(ties),
        n_expected_(std::min(4 * n_merges, kMostExpected)) {}

  // Enters the pairs that stand in the text now, and forgets all others.
  void enter_all(const std::vector<std::uint64_t>& counts);

  bool admits(std::uint32_t left, std::uint32_t right, std::int64_t weight) const noexcept {
    return weight >= admitted_.entered && !is_too_long(left, right);
  }
  // Enters a pair that stands at positions.begin[0, n), and queues it.
  void add(std::uint32_t left, std::uint32_t right, std::int64_t weight, Positions::Range positions,
           std::uint32_t n) {
    const auto index = static_cast<std::uint32_t>(pairs_.size());
    table_.insert(left, right, index);
    pairs_.push_back({weight, positions.begin, n, positions.block, left, right});
    const std::uint64_t tie = ties_ == Ties::first_seen ? *positions.begin : pack_pair(left, right);
    queue_.push_back({weight, tie, index});
    std::push_heap(queue_.begin(), queue_.end());
  }

  // The index of a pair, or null. Its slot is asked for by prefetch.
  const std::uint32_t* find(std::uint32_t left, std::uint32_t right) const noexcept {
    return table_.find(left, right);
  }
  void prefetch(std::uint32_t left, std::uint32_t right) const noexcept {
    table_.prefetch(left, right);
  }
  const Pair& operator[](std::uint32_t index) const noexcept { return pairs_[index]; }
  void prefetch_pair(std::uint32_t index) const noexcept { __builtin_prefetch(&pairs_[index], 1); }
  Positions& positions() noexcept { return positions_; }

  // Windows of a pair are lost. One that becomes too rare is never merged: its positions go.
  void take_off(std::uint32_t index, std::int64_t weight) noexcept {
    Pair& pair = pairs_[index];
    const bool was_entered = pair.count >= admitted_.entered;
    pair.count -= weight;
    if (was_entered && pair.count < admitted_.entered) forget_positions(pair);
  }
  // It has been merged, wherever it stood.
  void end(std::uint32_t index) noexcept {
    Pair& pair = pairs_[index];
    const bool was_entered = pair.count >= admitted_.entered;
    pair.count = 0;
    if (was_entered) forget_positions(pair);
  }

  // Takes the best pair off the queue; false when none counts admitted.entered.
  bool pop(std::uint32_t* pair);

  // Cells, occurrences and candidates looked at.
  std::uint64_t n_steps() const noexcept { return n_steps_; }

 private:
  struct Candidate {
    std::int64_t count;  // when queued; the pair's count has only fallen since
    std::uint64_t tie;
    std::uint32_t pair;
    bool operator<(const Candidate& other) const noexcept {  // for a heap with the best on top
      return count != other.count ? count < other.count : tie > other.tie;
    }
  };

  void forget_positions(Pair& pair) noexcept {
    positions_.release(pair.block);
    pair.n = 0;
  }
  bool is_too_long(std::uint32_t left, std::uint32_t right) const noexcept {
    return std::uint64_t{text_.lengths[left]} + text_.lengths[right] > admitted_.max_length;
  }

  const TokenText& text_;
  const Admission& admitted_;
  const Ties ties_;
  static constexpr std::size_t kMostExpected = std::size_t{1} << 18;
  const std::size_t n_expected_;  // pairs
  std::vector<Pair> pairs_;
  Positions positions_;
  PairTable<std::uint32_t> table_;  // to an index of pairs_
  std::vector<Candidate> queue_;
  std::uint64_t n_steps_ = 0;
};

}  // namespace groundup::bpe
