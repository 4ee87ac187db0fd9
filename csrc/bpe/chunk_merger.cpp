#include "bpe/chunk_merger.h"

#include <algorithm>
#include <stdexcept>

namespace groundup::bpe {
namespace {

constexpr std::uint32_t kNone = RankTable::kNone;
constexpr int kPlaceBits = 6;  // of a place in a short chunk
constexpr std::size_t kKeptParts = std::size_t{1} << 20;
constexpr std::size_t kLanes = 8;

// Rank and place in one number: the least of them is the lowest rank's leftmost.
std::uint32_t ranked(std::uint32_t rank, std::size_t place) noexcept {
  return rank == kNone ? kNone : rank << kPlaceBits | static_cast<std::uint32_t>(place);
}

// The least of values[0, n), n a multiple of kLanes; eight at a time without a branch.
std::uint32_t least(const std::uint32_t* values, std::size_t n) noexcept {
  std::uint32_t lanes[kLanes];
  for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = values[lane];
  for (std::size_t i = kLanes; i < n; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] = std::min(lanes[lane], values[i + lane]);
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t lane = 0; lane < half; ++lane)
      lanes[lane] = std::min(lanes[lane], lanes[lane + half]);
  return lanes[0];
}

// The least above `floor`, or kNone.
std::uint32_t least_above(std::uint32_t floor, const std::uint32_t* values,
                          std::size_t n) noexcept {
  std::uint32_t best = kNone;
  for (std::size_t i = 0; i < n; ++i)
    if (values[i] > floor) best = std::min(best, values[i]);
  return best;
}

struct Always {
  static constexpr bool kIsAlways = true;
  bool operator()() const noexcept { return true; }
};

struct Drawn {
  static constexpr bool kIsAlways = false;
  double dropout;
  RandomBits& random;
  bool operator()() const noexcept { return random.uniform() >= dropout; }
};

}  // namespace

ChunkMerger::ChunkMerger(const std::vector<std::string>& tokens, const TokenTable& table,
                         const std::uint32_t* merges, std::size_t n_merges, bool shared_ranks)
    : ranks_(n_merges) {
  if (n_merges > RankTable::kMost)
    throw std::invalid_argument("merges: expected at most 2^24 rows, got " +
                                std::to_string(n_merges) + ".");
  for (int byte = 0; byte < 256; ++byte) {
    const auto bytes = static_cast<std::uint8_t>(byte);
    byte_ids_[byte] = table.find(&bytes, 1);
    if (byte_ids_[byte] == TokenTable::kAbsent)
      throw std::invalid_argument("tokens: expected a token for each of the 256 bytes, but byte " +
                                  std::to_string(byte) + " has none.");
  }
  // Ids in the order of their merges serve as ranks.
  bool ordered = true;
  for (std::size_t row = 1; ordered && row < n_merges; ++row)
    ordered = merges[3 * row - 1] < merges[3 * row + 2] + shared_ranks;
  if (!ordered) ids_by_rank_.resize(n_merges);
  std::uint32_t rank = 0;
  for (std::size_t row = 0; row < n_merges; ++row) {
    const std::uint32_t left = merges[3 * row], right = merges[3 * row + 1],
                        id = merges[3 * row + 2];
    const auto where = [&] { return "merges row " + std::to_string(row) + ": "; };
    for (const std::uint32_t each : {left, right, id})
      if (each >= tokens.size())
        throw std::invalid_argument(where() + "expected ids below " +
                                    std::to_string(tokens.size()) + ", got " +
                                    std::to_string(each) + ".");
    if (tokens[left].empty() || tokens[right].empty() ||
        tokens[left].size() + tokens[right].size() != tokens[id].size() ||
        tokens[id].compare(0, tokens[left].size(), tokens[left]) != 0 ||
        tokens[id].compare(tokens[left].size(), std::string::npos, tokens[right]) != 0)
      throw std::invalid_argument(where() + "expected token " + std::to_string(id) +
                                  " to be the bytes of token " + std::to_string(left) +
                                  " followed by those of token " + std::to_string(right) + ".");
    // A pair that comes again has its rank from its first row (Hugging Face's trainer writes such).
    const bool shares = shared_ranks && row > 0 && merges[3 * row - 1] == id;
    if (!shares) rank = static_cast<std::uint32_t>(row);
    if (!ordered) ids_by_rank_[rank] = id;
    ranks_.insert(left, right, ordered ? id : rank);
  }
  byte_ranks_.resize(65536);
  for (int left = 0; left < 256; ++left)
    for (int right = 0; right < 256; ++right)
      byte_ranks_[left << 8 | right] = ranks_.find(byte_ids_[left], byte_ids_[right]);
}

std::uint32_t* ChunkMerger::merge(const std::uint8_t* chunk, std::size_t n, Space& space,
                                  std::uint32_t* out) const {
  return n <= kShortMerge ? merge_short(chunk, n, Always{}, out)
                          : merge_long(chunk, n, space, Always{}, out);
}

void ChunkMerger::merge_each(Job* jobs, std::size_t n_jobs) const {
  constexpr std::size_t kAtATime = 64;
  Job* tiny[kAtATime];
  std::size_t n_tiny = 0;
  for (Job* job = jobs; job < jobs + n_jobs; ++job) {
    if (job->n > kTinyMerge) {
      job->end = merge_short(job->chunk, job->n, Always{}, job->out);
      continue;
    }
    tiny[n_tiny++] = job;
    if (n_tiny < kAtATime) continue;
    merge_tiny(tiny, n_tiny);
    n_tiny = 0;
  }
  merge_tiny(tiny, n_tiny);
}

std::uint32_t* ChunkMerger::merge_with_dropout(const std::uint8_t* chunk, std::size_t n,
                                               Space& space, double dropout, RandomBits& random,
                                               std::uint32_t* out) const {
  const Drawn keep{dropout, random};
  return n <= kShortMerge ? merge_short(chunk, n, keep, out)
                          : merge_long(chunk, n, space, keep, out);
}

template <class Keep>
std::uint32_t* ChunkMerger::merge_short(const std::uint8_t* chunk, std::size_t n, Keep&& keep,
                                        std::uint32_t* out) const {
  std::uint32_t ids[kShortMerge];    // of the part that starts at a place
  std::uint32_t pairs[kShortMerge];  // ranked: that part and the next one
  const std::size_t n_lanes = (n + kLanes - 1) / kLanes * kLanes;
  for (std::size_t i = 0; i < n; ++i) ids[i] = byte_ids_[chunk[i]];
  for (std::size_t i = 0; i + 1 < n; ++i)
    pairs[i] = ranked(byte_ranks_[chunk[i] << 8 | chunk[i + 1]], i);
  for (std::size_t i = n - 1; i < n_lanes; ++i) pairs[i] = kNone;
  std::uint64_t starts = ~std::uint64_t{0} >> (64 - n);  // the places where a part starts
  for (;;) {
    std::uint32_t best = least(pairs, n_lanes);
    if (!std::decay_t<Keep>::kIsAlways)
      while (best != kNone && !keep()) best = least_above(best, pairs, n);
    if (best == kNone) break;
    const std::size_t at = best & (kShortMerge - 1);
    ids[at] = made_by(best >> kPlaceBits);
    // Places after `at`, which has a part after it: the first goes, the second is the new next.
    const std::uint64_t after = starts & (~std::uint64_t{1} << at);
    const std::uint64_t second = after & (after - 1);
    starts ^= after ^ second;
    pairs[__builtin_ctzll(after)] = kNone;
    pairs[at] = second ? ranked(ranks_.find(ids[at], ids[__builtin_ctzll(second)]), at) : kNone;
    if (const std::uint64_t before = starts & ((std::uint64_t{1} << at) - 1)) {
      const std::size_t previous = 63 - static_cast<std::size_t>(__builtin_clzll(before));
      pairs[previous] = ranked(ranks_.find(ids[previous], ids[at]), previous);
    }
  }
  for (; starts; starts &= starts - 1) *out++ = ids[__builtin_ctzll(starts)];
  return out;
}

template <class Keep>
std::uint32_t* ChunkMerger::merge_long(const std::uint8_t* chunk, std::size_t n, Space& space,
                                       Keep&& keep, std::uint32_t* out) const {
  if (n >= kNone)
    throw std::invalid_argument("text: expected chunks shorter than 2^32 - 1 bytes, got one of " +
                                std::to_string(n) + "; cut the text or use a pattern that does.");
  std::vector<Part>& parts = space.parts;
  std::vector<Waiting>& heap = space.heap;
  std::vector<Waiting>& dropped = space.dropped;
  parts.resize(n);
  heap.clear();
  dropped.clear();
  for (std::uint32_t at = 0; at < n; ++at)
    parts[at] = {byte_ids_[chunk[at]], at + 1 < n ? at + 1 : kNone, at - 1};
  const auto wait = [&](std::uint32_t at) {
    const std::uint32_t right = parts[parts[at].next].id;
    const std::uint32_t rank = ranks_.find(parts[at].id, right);
    if (rank != kNone) heap.push_back({rank, at, parts[at].id, right});
    return rank != kNone;
  };
  for (std::uint32_t at = 0; at + 1 < n; ++at) wait(at);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Waiting best = heap.back();
    heap.pop_back();
    // Out of date when either part has been merged since; a part only ever grows, so equal ids at
    // an unmoved start mean the same parts.
    Part& part = parts[best.at];
    if (part.id != best.left || part.next == kNone || parts[part.next].id != best.right) continue;
    if (!keep()) {
      dropped.push_back(best);
      continue;
    }
    parts[part.next].id = kNone;
    part.id = made_by(best.rank);
    part.next = parts[part.next].next;
    if (part.next != kNone) {
      parts[part.next].previous = best.at;
      if (wait(best.at)) std::push_heap(heap.begin(), heap.end());
    }
    if (best.at > 0 && wait(part.previous)) std::push_heap(heap.begin(), heap.end());
    for (const Waiting& again : dropped) {
      heap.push_back(again);
      std::push_heap(heap.begin(), heap.end());
    }
    dropped.clear();
  }
  for (std::uint32_t at = 0; at != kNone; at = parts[at].next) *out++ = parts[at].id;
  // One giant chunk must not hold its memory for the encoder's life.
  if (parts.capacity() > kKeptParts) std::vector<Part>().swap(parts);
  if (heap.capacity() > kKeptParts) std::vector<Waiting>().swap(heap);
  if (dropped.capacity() > kKeptParts) std::vector<Waiting>().swap(dropped);
  return out;
}

}  // namespace groundup::bpe
