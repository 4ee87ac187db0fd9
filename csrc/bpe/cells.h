// Distinct chunks laid out for merging, and the pairs of neighbours to begin with.
//
// The chunks' bytes end to end, a separator before each and after the last, which tells the number
// of the chunk that follows. A token's id stands in the cells of its first and of its last byte;
// what is between is stale and never read as a token (docs/bpe.md). A code point is laid out as a
// token of as many cells as it has bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "bpe/alphabet.h"
#include "bpe/count.h"
#include "bpe/positions.h"

namespace groundup::bpe {

using Cell = std::uint32_t;  // an id, or kSeparator and a chunk's number
constexpr Cell kSeparator = Cell{1} << 31;
inline bool is_separator(Cell cell) noexcept { return cell >= kSeparator; }

// A pair of ids that stand side by side, n times: positions.begin[0, n) of the cells.
struct FoundPair {
  std::uint32_t left;
  std::uint32_t right;
  std::int64_t weight;  // its occurrences, each weighted by its chunk's count
  std::uint32_t n;
  Positions::Range positions;
};

// Both throw std::invalid_argument when the corpus passes what 32-bit positions or 62-bit counts
// hold. Each byte by its id in id_of_byte[256]:
std::vector<Cell> lay_out_bytes(const ChunkList& chunks, const std::uint32_t* id_of_byte);
// Each character of the alphabet by its id; what stays bytes separates, as a chunk's end does.
std::vector<Cell> lay_out_characters(const ChunkList& chunks, const Alphabet& alphabet);

// How often the chunk that a cell belongs to occurs. For cells near its beginning by looking back
// for the separator, else by the logarithm of the number of chunks, or at once where the last one
// was.
class ChunkFinder {
 public:
  ChunkFinder(const std::vector<Cell>& cells, const ChunkList& chunks) noexcept
      : cells_(cells), chunks_(chunks) {}

  std::uint64_t count_at(std::uint32_t at) noexcept {
    if (at - begin_ < end_ - begin_) return count_;
    for (std::uint32_t back = kLanes; back <= kNear && back <= at; back += kLanes) {
      const Cell* const from = cells_.data() + at - back;
      if (const unsigned found = separators(from))
        return chunks_.counts[from[31 - __builtin_clz(found)] - kSeparator];
    }
    return count_far(at);
  }

 private:
  static constexpr std::uint32_t kLanes = 16, kNear = 64;

  // A bit for each of kLanes cells, without a branch: how far back it stands is never the same.
  static unsigned separators(const Cell* from) noexcept {
    unsigned found = 0;
#ifdef __SSE2__
    for (unsigned i = 0; i < kLanes; i += 4)
      found |= static_cast<unsigned>(_mm_movemask_ps(
                   _mm_castsi128_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)))))
               << i;
#else
    for (unsigned i = 0; i < kLanes; ++i) found |= from[i] >> 31 << i;
#endif
    return found;
  }
  std::uint64_t count_far(std::uint32_t at) noexcept;

  const std::vector<Cell>& cells_;
  const ChunkList& chunks_;
  std::uint32_t begin_ = 0, end_ = 0;  // the cells of the chunk that was found last from afar
  std::uint64_t count_ = 0;
};

// Every pair whose weight is `least` or more, once, in no order to rely on. `lengths` are those of
// the ids, in cells. Takes memory for what it finds and for few pairs more.
std::vector<FoundPair> find_pairs(const std::vector<Cell>& cells,
                                  const std::vector<std::uint32_t>& lengths,
                                  const std::vector<std::uint64_t>& counts, std::int64_t least,
                                  Positions* positions);

}  // namespace groundup::bpe
