// A chunk's bytes to ids by merges: the pair of lowest rank first, the leftmost of equals.
//
// Short chunks are scanned for the next pair; long ones keep a heap, so that n bytes cost
// O(n log n). A merge needs the ranks of the pairs that it makes before the next can be chosen, and
// waiting for the memory where they stand is most of the time: several chunks take turns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bpe/random_bits.h"
#include "bpe/rank_table.h"
#include "bpe/token_table.h"

namespace groundup::bpe {

class ChunkMerger {
 public:
  struct Part {
    std::uint32_t id;
    std::uint32_t next;
    std::uint32_t previous;
  };
  struct Waiting {  // a pair in the heap of a long chunk
    std::uint32_t rank;
    std::uint32_t at;  // the left part
    std::uint32_t left;
    std::uint32_t right;
    bool operator<(const Waiting& other) const noexcept {  // the best on top
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  // A chunk of 1 to kShortMerge bytes; its ids go to `out`, as many as bytes at most, up to `end`.
  struct Job {
    const std::uint8_t* chunk;
    std::size_t n;
    std::uint32_t* out;
    std::uint32_t* end;
  };
  static constexpr std::size_t kShortMerge = 64;  // bytes up to which a scan beats a heap
  static constexpr std::size_t kTinyMerge = 16;   // that are scanned by vectors and take turns

  // What one thread works in. Never shared.
  struct Space {
    std::vector<Part> parts;
    std::vector<Waiting> heap;
    std::vector<Waiting> dropped;
  };

  // merges are n_merges rows (left, right, id), lowest rank first; with shared_ranks, neighbouring
  // rows of one id have one rank. Throws std::invalid_argument for a byte without token, an id out
  // of range, or a row whose bytes are not those of its id.
  ChunkMerger(const std::vector<std::string>& tokens, const TokenTable& table,
              const std::uint32_t* merges, std::size_t n_merges, bool shared_ranks);

  // Writes the ids of chunk[0, n), n at most, to `out` and returns their end.
  std::uint32_t* merge(const std::uint8_t* chunk, std::size_t n, Space& space,
                       std::uint32_t* out) const;
  // The same for several short chunks.
  void merge_each(Job* jobs, std::size_t n_jobs) const;
  // The same as merge by BPE-dropout (Provilkov et al. 2020): before each merge every pair that
  // could be merged is passed over with a probability of its own draw, and when all are the chunk
  // is done.
  std::uint32_t* merge_with_dropout(const std::uint8_t* chunk, std::size_t n, Space& space,
                                    double dropout, RandomBits& random, std::uint32_t* out) const;

 private:
  class TinyMerge;

  // `keep()` says of each pair, in the order of their ranks, whether it may be merged now.
  template <class Keep>
  std::uint32_t* merge_short(const std::uint8_t* chunk, std::size_t n, Keep&& keep,
                             std::uint32_t* out) const;
  template <class Keep>
  std::uint32_t* merge_long(const std::uint8_t* chunk, std::size_t n, Space& space, Keep&& keep,
                            std::uint32_t* out) const;

  void merge_tiny(Job** jobs, std::size_t n_jobs) const noexcept;

  std::uint32_t made_by(std::uint32_t rank) const noexcept {
    return ids_by_rank_.empty() ? rank : ids_by_rank_[rank];
  }

  std::uint32_t byte_ids_[256];
  std::vector<std::uint32_t> byte_ranks_;   // of two bytes, by first * 256 + second
  std::vector<std::uint32_t> ids_by_rank_;  // what a rank's merge makes; none: ranks are ids
  RankTable ranks_;
};

}  // namespace groundup::bpe
