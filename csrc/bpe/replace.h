// One merge: a pair is replaced by its token wherever it stands, and the pairs beside it change.
#pragma once

#include <cstdint>
#include <vector>

#include "bpe/cells.h"
#include "bpe/pair_queue.h"

namespace groundup::bpe {

class Replacer {
 public:
  Replacer(TokenText* text, const ChunkList& chunks, PairQueue* pairs) noexcept
      : text_(*text), pairs_(*pairs), finder_(text->cells, chunks) {}

  // The id of a new token, which stands nowhere yet.
  std::uint32_t add_token(std::uint32_t left, std::uint32_t right);
  // Replaces the pair wherever it stands, leftmost first, and returns the id that replaces it.
  std::uint32_t replace(std::uint32_t index);

  // Occurrences looked at and replaced.
  std::uint64_t n_steps() const noexcept { return n_steps_; }

 private:
  // The neighbours of one side of the occurrences being merged, gathered by id.
  struct Neighbours {
    struct Side {
      std::int64_t weight;  // zero between merges, as n
      std::uint32_t* next;  // where the next position of (neighbour, new) is written, or null
      std::uint32_t n;
      std::uint32_t block;
    };
    std::vector<Side> of;  // by id
    std::vector<std::uint32_t> met;

    void meet(std::uint32_t id, std::int64_t by) {
      Side& side = of[id];
      if (side.n++ == 0) met.push_back(id);
      side.weight += by;
    }
    void clear() {
      for (const std::uint32_t id : met) of[id].weight = of[id].n = 0;
      met.clear();
    }
  };
  struct Lost {
    std::uint32_t left, right;  // left is the pair's index once it is found, or kNone
    std::int64_t weight;
  };
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;  // no id
  static constexpr std::uint32_t kTwin = kNone - 1;    // the right neighbour was merged too

  static std::uint32_t id_or_none(Cell cell) noexcept { return is_separator(cell) ? kNone : cell; }
  void gather(std::uint32_t left, std::uint32_t right, std::uint32_t length);
  void take_off();
  void add_created(std::uint32_t id);

  TokenText& text_;
  PairQueue& pairs_;
  ChunkFinder finder_;
  // One merge's working space.
  std::vector<std::uint32_t> merged_, left_ids_, right_ids_;
  Neighbours before_, after_;
  std::vector<Lost> lost_;
  std::int64_t twin_weight_ = 0;
  std::uint32_t n_twins_ = 0;
  std::uint64_t n_steps_ = 0;
};

}  // namespace groundup::bpe
