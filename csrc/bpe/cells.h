// Distinct chunks laid out for merging, and the pairs of neighbours to begin with.
//
// The chunks' bytes end to end, a separator before each and after the last. A token's id stands in
// the cells of its first and of its last byte; what is between is stale and never read as a token
// (docs/bpe.md). A code point is laid out as a token of as many cells as it has bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bpe/alphabet.h"
#include "bpe/count.h"
#include "bpe/positions.h"

namespace groundup::bpe {

constexpr std::uint32_t kSeparator = 0xFFFFFFFFu;  // the id between chunks: no token's neighbour

struct Cell {
  std::uint32_t id;
  std::uint32_t chunk;
};

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

// Every pair whose weight is `least` or more, once, in no order to rely on. `lengths` are those of
// the ids, in cells. Takes memory for what it finds and for few pairs more.
std::vector<FoundPair> find_pairs(const std::vector<Cell>& cells,
                                  const std::vector<std::uint32_t>& lengths,
                                  const std::vector<std::uint64_t>& counts, std::int64_t least,
                                  Positions* positions);

}  // namespace groundup::bpe
