#include "bpe/replace.h"

#include <algorithm>

namespace groundup::bpe {

std::uint32_t Replacer::add_token(std::uint32_t left, std::uint32_t right) {
  auto& lengths = text_.lengths;
  const std::uint64_t length = std::uint64_t{lengths[left]} + lengths[right];
  // Only a known token that stands nowhere can be that long.
  lengths.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(length, kNone)));
  before_.of.resize(lengths.size());
  after_.of.resize(lengths.size());
  return static_cast<std::uint32_t>(lengths.size() - 1);
}

std::uint32_t Replacer::replace(std::uint32_t index) {
  const Pair pair = pairs_[index];
  const std::uint32_t id = add_token(pair.left, pair.right);
  const std::uint32_t length = text_.lengths[id];
  auto& cells = text_.cells;
  merged_.clear();
  constexpr std::uint32_t kAhead = 16;
  for (std::uint32_t i = 0; i < pair.n; ++i) {
    if (i + kAhead < pair.n) __builtin_prefetch(&cells[pair.begin[i + kAhead]], 1);
    const std::uint32_t at = pair.begin[i];
    if (!text_.stands_at(at, pair.left, pair.right)) continue;
    cells[at] = id;
    cells[at + length - 1] = id;
    merged_.push_back(at);
  }
  pairs_.end(index);
  n_steps_ += pair.n + merged_.size();
  gather(pair.left, pair.right, length);
  add_created(id);
  return id;
}

// Meets the neighbours of all merged occurrences and takes the windows they lost off.
void Replacer::gather(std::uint32_t left, std::uint32_t right, std::uint32_t length) {
  const std::vector<Cell>& cells = text_.cells;
  const std::size_t n = merged_.size();
  left_ids_.resize(n);
  right_ids_.resize(n);
  twin_weight_ = 0;
  n_twins_ = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t at = merged_[i];
    const auto weight = static_cast<std::int64_t>(finder_.count_at(at));
    const bool follows_merged = i > 0 && merged_[i - 1] + length == at;
    left_ids_[i] = follows_merged ? kNone : id_or_none(cells[at - 1]);
    if (left_ids_[i] != kNone) before_.meet(left_ids_[i], weight);
    right_ids_[i] = id_or_none(cells[at + length]);
    if (i + 1 < n && merged_[i + 1] == at + length) {
      right_ids_[i] = kTwin;
      twin_weight_ += weight;
      ++n_twins_;
    } else if (right_ids_[i] != kNone) {
      after_.meet(right_ids_[i], weight);
    }
  }
  lost_.clear();
  for (const std::uint32_t id : before_.met) lost_.push_back({id, left, before_.of[id].weight});
  for (const std::uint32_t id : after_.met) lost_.push_back({right, id, after_.of[id].weight});
  if (n_twins_) lost_.push_back({right, left, twin_weight_});
  take_off();
}

// Each pair's slot and each pair lie anywhere in memory: asked for well before they are needed.
void Replacer::take_off() {
  constexpr std::size_t kAhead = 8;
  const std::size_t n = lost_.size();
  for (std::size_t i = 0; i < n + kAhead; ++i) {
    if (i < n) pairs_.prefetch(lost_[i].left, lost_[i].right);
    if (i < kAhead / 2 || i - kAhead / 2 >= n) continue;
    Lost& lost = lost_[i - kAhead / 2];
    const std::uint32_t* const pair = pairs_.find(lost.left, lost.right);
    lost.left = pair ? *pair : kNone;
    if (pair) pairs_.prefetch_pair(*pair);
  }
  for (const Lost& lost : lost_)
    if (lost.left != kNone) pairs_.take_off(lost.left, lost.weight);
}

// Enters the pairs that the new token forms: as many windows as the old ones lost. One that
// starts below the least that is entered never reaches it and is dropped, as one too long.
void Replacer::add_created(std::uint32_t id) {
  const auto place = [&](std::uint32_t neighbour, std::int64_t weight, std::uint32_t n) {
    return pairs_.admits(neighbour, id, weight) ? pairs_.positions().allocate(n, weight)
                                                : Positions::Range{};
  };
  for (Neighbours* side : {&before_, &after_}) {
    for (const std::uint32_t neighbour : side->met) {
      Neighbours::Side& of = side->of[neighbour];
      const Positions::Range range = place(neighbour, of.weight, of.n);
      of.next = range.begin;
      of.block = range.block;
    }
  }
  const Positions::Range twins = place(id, twin_weight_, n_twins_);
  std::uint32_t* next_twin = twins.begin;

  for (std::size_t i = 0; i < merged_.size(); ++i) {
    const std::uint32_t at = merged_[i], before = left_ids_[i], after = right_ids_[i];
    if (before != kNone && before_.of[before].next)
      *before_.of[before].next++ = at - text_.lengths[before];
    if (after == kTwin) {
      if (next_twin) *next_twin++ = at;
    } else if (after != kNone && after_.of[after].next) {
      *after_.of[after].next++ = at;
    }
  }

  for (Neighbours* side : {&before_, &after_}) {
    for (const std::uint32_t neighbour : side->met) {
      const Neighbours::Side& of = side->of[neighbour];
      if (!of.next) continue;
      pairs_.add(side == &before_ ? neighbour : id, side == &before_ ? id : neighbour, of.weight,
                 {of.next - of.n, of.block}, of.n);
    }
  }
  if (twins.begin) pairs_.add(id, id, twin_weight_, twins, n_twins_);
  before_.clear();
  after_.clear();
}

}  // namespace groundup::bpe
