#include "bpe/cells.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "bpe/pair_table.h"

namespace groundup::bpe {
namespace {

constexpr std::uint64_t kMaxWindows = std::uint64_t{1} << 62;

// Memory for all cells.
std::vector<Cell> begun(const ChunkList& chunks) {
  const std::size_t n_cells = chunks.bytes.size() + chunks.size() + 1;
  if (n_cells >= 0xFFFFFFFFu)
    throw std::invalid_argument("counts: expected fewer than 2^32 bytes of distinct chunks, got " +
                                std::to_string(n_cells) +
                                "; train on less text or with a pattern that cuts it finer.");
  unsigned __int128 n_windows = 0;
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk)
    n_windows += static_cast<unsigned __int128>(chunks.counts[chunk]) *
                 (chunks.starts[chunk + 1] - chunks.starts[chunk]);
  if (n_windows >= kMaxWindows)
    throw std::invalid_argument(
        "counts: expected bytes times counts to sum to less than 2^62; divide all counts by one "
        "factor.");
  std::vector<Cell> cells;
  cells.reserve(n_cells);
  return cells;
}

// Calls visit(at, left, right, weight) for each two tokens that stand side by side.
template <class Visit>
void for_each_pair(const std::vector<Cell>& cells, const std::vector<std::uint32_t>& lengths,
                   const std::vector<std::uint64_t>& counts, Visit&& visit) {
  std::uint64_t weight = 0;
  for (std::size_t at = 0, after; at + 1 < cells.size(); at = after) {
    const Cell left = cells[at];
    if (is_separator(left)) {
      weight = counts[left - kSeparator];
      after = at + 1;
      continue;
    }
    after = at + lengths[left];
    if (!is_separator(cells[after]))
      visit(static_cast<std::uint32_t>(at), left, cells[after], weight);
  }
}

// Gives each pair an index: by a table of all pairs where ids are few, else by hashing.
class PairIndices {
 public:
  static constexpr std::size_t kFewIds = 512;
  static constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;

  explicit PairIndices(std::size_t n_ids)
      : n_ids_(n_ids), dense_(n_ids <= kFewIds ? n_ids * n_ids : 0, kAbsent) {}

  std::uint32_t find(std::uint32_t left, std::uint32_t right) const noexcept {
    if (!dense_.empty()) return dense_[left * n_ids_ + right];
    const std::uint32_t* const known = table_.find(left, right);
    return known ? *known : kAbsent;
  }
  void insert(std::uint32_t left, std::uint32_t right, std::uint32_t index) {
    if (dense_.empty())
      table_.insert(left, right, index);
    else
      dense_[left * n_ids_ + right] = index;
  }

 private:
  std::size_t n_ids_;
  std::vector<std::uint32_t> dense_;
  PairTable<std::uint32_t> table_;
};

// Tells pairs that cannot weigh `least`: by the weight of all pairs that share a number with one.
// Most pairs of a text are rare, and an entry for each would take more memory than all the rest.
class Sieve {
 public:
  explicit Sieve(std::int64_t least)
      : least_(static_cast<std::uint32_t>(std::min<std::int64_t>(least, kMost))),
        weights_(least > 1 ? kBuckets : 0) {}
  bool passes_all() const noexcept { return weights_.empty(); }

  void add(std::uint32_t left, std::uint32_t right, std::uint64_t weight) noexcept {
    std::uint32_t& sum = weights_[bucket(left, right)];
    sum = static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{sum} + weight, kMost));
  }
  bool passes(std::uint32_t left, std::uint32_t right) const noexcept {
    return passes_all() || weights_[bucket(left, right)] >= least_;
  }

 private:
  static constexpr std::uint32_t kMost = 0xFFFFFFFFu;
  static constexpr std::size_t kBuckets = std::size_t{1} << 20;
  static std::size_t bucket(std::uint32_t left, std::uint32_t right) noexcept {
    return mix(pack_pair(left, right) ^ 0xA0761D6478BD642Fu, 0xE7037ED1A0B428DBu) % kBuckets;
  }
  std::uint32_t least_;
  std::vector<std::uint32_t> weights_;
};

}  // namespace

std::vector<Cell> lay_out_bytes(const ChunkList& chunks, const std::uint32_t* id_of_byte) {
  std::vector<Cell> cells = begun(chunks);
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    cells.push_back(kSeparator + static_cast<Cell>(chunk));
    for (std::size_t at = chunks.starts[chunk]; at < chunks.starts[chunk + 1]; ++at)
      cells.push_back(id_of_byte[chunks.bytes[at]]);
  }
  cells.push_back(kSeparator);
  return cells;
}

std::vector<Cell> lay_out_characters(const ChunkList& chunks, const Alphabet& alphabet) {
  std::vector<Cell> cells = begun(chunks);
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    const Cell separator = kSeparator + static_cast<Cell>(chunk);
    const std::uint8_t* const bytes = chunks.bytes.data() + chunks.starts[chunk];
    cells.push_back(separator);
    for_each_character(bytes, chunks.starts[chunk + 1] - chunks.starts[chunk],
                       [&](std::size_t at, std::size_t size) {
                         const std::uint32_t id =
                             size ? alphabet.id_at(bytes + at) : Alphabet::kNone;
                         const Cell cell = id == Alphabet::kNone ? separator : id;
                         cells.insert(cells.end(), size ? size : 1, cell);
                       });
  }
  cells.push_back(kSeparator);
  return cells;
}

std::uint64_t ChunkFinder::count_far(std::uint32_t at) noexcept {
  // Chunk i begins at cell starts[i] + i + 1.
  std::size_t low = 0, high = chunks_.size();
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    (chunks_.starts[middle] + middle + 1 <= at ? low : high) = middle;
  }
  begin_ = static_cast<std::uint32_t>(chunks_.starts[low] + low + 1);
  end_ = static_cast<std::uint32_t>(chunks_.starts[low + 1] + low + 1);
  return count_ = chunks_.counts[low];
}

std::vector<FoundPair> find_pairs(const std::vector<Cell>& cells,
                                  const std::vector<std::uint32_t>& lengths,
                                  const std::vector<std::uint64_t>& counts, std::int64_t least,
                                  Positions* positions) {
  Sieve sieve(lengths.size() > PairIndices::kFewIds ? least : 1);
  if (!sieve.passes_all())
    for_each_pair(cells, lengths, counts,
                  [&](std::uint32_t, std::uint32_t left, std::uint32_t right,
                      std::uint64_t weight) { sieve.add(left, right, weight); });
  std::vector<FoundPair> found;
  PairIndices indices(lengths.size());
  for_each_pair(cells, lengths, counts,
                [&](std::uint32_t, std::uint32_t left, std::uint32_t right, std::uint64_t weight) {
                  if (!sieve.passes(left, right)) return;
                  std::uint32_t index = indices.find(left, right);
                  if (index == PairIndices::kAbsent) {
                    index = static_cast<std::uint32_t>(found.size());
                    indices.insert(left, right, index);
                    found.push_back({left, right, 0, 0, {}});
                  }
                  found[index].weight += static_cast<std::int64_t>(weight);
                  ++found[index].n;
                });
  for (FoundPair& pair : found)
    if (pair.weight >= least) pair.positions = positions->allocate(pair.n, pair.weight);
  for_each_pair(cells, lengths, counts,
                [&](std::uint32_t at, std::uint32_t left, std::uint32_t right, std::uint64_t) {
                  const std::uint32_t index = indices.find(left, right);
                  if (index == PairIndices::kAbsent || !found[index].positions.begin) return;
                  *found[index].positions.begin++ = at;
                });
  const auto is_rare = [](const FoundPair& pair) { return !pair.positions.begin; };
  found.erase(std::remove_if(found.begin(), found.end(), is_rare), found.end());
  for (FoundPair& pair : found) pair.positions.begin -= pair.n;
  return found;
}

}  // namespace groundup::bpe
