// Chunks of up to 16 bytes, several in turns: while one waits for the ranks of the pairs that it
// has made, the others go on. All of a chunk's pairs stand in four vectors of the baseline.
#include <algorithm>
#include <cstring>

#include "bpe/chunk_merger.h"

namespace groundup::bpe {
namespace {

constexpr std::uint32_t kNone = RankTable::kNone;

}  // namespace

// One chunk on its way, without a branch that the text decides but the last. Its parts start at
// places from 1 on; at either end stands a part that is in no pair.
class ChunkMerger::TinyMerge {
 public:
  void begin(const ChunkMerger& merger, const std::uint8_t* chunk, std::size_t n) noexcept {
    std::int32_t pairs[kTinyMerge];
    for (std::size_t i = 0; i < n; ++i) ids_[i + 1] = merger.byte_ids_[chunk[i]];
    for (std::size_t i = 0; i + 1 < n; ++i)
      pairs[i] = placed(merger.byte_ranks_[chunk[i] << 8 | chunk[i + 1]], i + 1);
    for (std::size_t i = n - 1; i < kTinyMerge; ++i) pairs[i] = kNever;
    std::memcpy(pairs_, pairs, sizeof pairs_);
    ids_[0] = ids_[n + 1] = kNobody;
    last_ = static_cast<std::uint32_t>(n + 1);
    starts_ = (2u << last_) - 1;
  }

  // Merges the best pair and asks for the memory that look_up will read; false where none is left.
  bool merge(const ChunkMerger& merger) noexcept {
    const std::int32_t best = least();
    if (best == kNever) return false;
    at_ = best & (kPlaces - 1);
    ids_[at_] = merger.made_by(static_cast<std::uint32_t>(best) >> kTinyPlaceBits);
    std::uint32_t after = starts_ & (~1u << at_);
    gone_ = static_cast<std::uint32_t>(__builtin_ctz(after));
    after &= after - 1;
    next_ = static_cast<std::uint32_t>(__builtin_ctz(after));
    previous_ = 31 - static_cast<std::uint32_t>(__builtin_clz(starts_ & ((1u << at_) - 1)));
    starts_ ^= 1u << gone_;
    merger.ranks_.prefetch(ids_[at_], ids_[next_]);
    merger.ranks_.prefetch(ids_[previous_], ids_[at_]);
    return true;
  }

  void look_up(const ChunkMerger& merger) noexcept {
    set(at_, placed(merger.ranks_.find(ids_[at_], ids_[next_]), at_));
    set(previous_, placed(merger.ranks_.find(ids_[previous_], ids_[at_]), previous_));
    set(gone_, kNever);
  }

  std::uint32_t* write(std::uint32_t* out) const noexcept {
    for (std::uint32_t left = starts_ & ~(1u | 1u << last_); left; left &= left - 1)
      *out++ = ids_[__builtin_ctz(left)];
    return out;
  }

 private:
  using Quad = std::int32_t __attribute__((vector_size(16)));
  static constexpr int kTinyPlaceBits = 5;
  static constexpr std::uint32_t kPlaces = 1 << kTinyPlaceBits;
  static constexpr std::int32_t kNever = 0x7FFFFFFF;         // as a rank: the worst
  static constexpr std::uint32_t kNobody = kMostTokens - 1;  // no token has this id
  static constexpr std::size_t kQuads = kTinyMerge / 4;
  static_assert(RankTable::kMost << kTinyPlaceBits < std::size_t{kNever}, "ranks are below kNever");

  static std::int32_t placed(std::uint32_t rank, std::size_t place) noexcept {
    const auto both = static_cast<std::int32_t>(rank << kTinyPlaceBits | place);
    return rank == kNone ? kNever : both;
  }

  void set(std::uint32_t place, std::int32_t value) noexcept {
    Quad places = {1, 2, 3, 4};
    const Quad here = Quad{} + static_cast<std::int32_t>(place);
    for (Quad& pairs : pairs_) {
      pairs = places == here ? Quad{} + value : pairs;
      places += 4;
    }
  }

  std::int32_t least() const noexcept {
    const auto lesser = [](Quad a, Quad b) { return a < b ? a : b; };
    const Quad low = lesser(lesser(pairs_[0], pairs_[1]), lesser(pairs_[2], pairs_[3]));
    return std::min(std::min(low[0], low[1]), std::min(low[2], low[3]));
  }

  Quad pairs_[kQuads];  // rank and place of the pair that starts at a place
  std::uint32_t ids_[kTinyMerge + 2];
  std::uint32_t starts_, last_;                // the places where a part starts; that of the end
  std::uint32_t at_, gone_, next_, previous_;  // of the last merge
};

void ChunkMerger::merge_tiny(Job** jobs, std::size_t n_jobs) const noexcept {
  constexpr std::size_t kTogether = 8;  // 4 and 16 took as long
  struct Turn {
    TinyMerge merge;
    Job* job;
  };
  Turn turns[kTogether];
  Turn* running[kTogether];
  std::size_t n_running = 0;
  Job **next = jobs, **const last = jobs + n_jobs;
  // Until there is something to look up; false where no chunk is left.
  const auto begin = [&](Turn& turn) {
    while (next < last) {
      turn.job = *next++;
      turn.merge.begin(*this, turn.job->chunk, turn.job->n);
      if (turn.merge.merge(*this)) return true;
      turn.job->end = turn.merge.write(turn.job->out);
    }
    return false;
  };
  for (Turn& turn : turns)
    if (begin(turn)) running[n_running++] = &turn;
  while (n_running > 0)
    for (std::size_t i = 0; i < n_running;) {
      Turn& turn = *running[i];
      turn.merge.look_up(*this);
      bool goes_on = turn.merge.merge(*this);
      if (!goes_on) {
        turn.job->end = turn.merge.write(turn.job->out);
        goes_on = begin(turn);
      }
      if (goes_on)
        ++i;
      else
        running[i] = running[--n_running];
    }
}

}  // namespace groundup::bpe
