#include "bpe/pair_queue.h"

namespace groundup::bpe {

void PairQueue::enter_all(const std::vector<std::uint64_t>& counts) {
  pairs_ = {};
  queue_ = {};
  positions_.clear();
  table_ = PairTable<std::uint32_t>();
  pairs_.reserve(std::min(n_expected_, text_.cells.size()));
  queue_.reserve(pairs_.capacity() / 2);
  n_steps_ += text_.cells.size();
  for (const FoundPair& pair :
       find_pairs(text_.cells, text_.lengths, counts, admitted_.entered, &positions_))
    if (!is_too_long(pair.left, pair.right))
      add(pair.left, pair.right, pair.weight, pair.positions, pair.n);
}

bool PairQueue::pop(std::uint32_t* pair) {
  for (; !queue_.empty(); ++n_steps_) {
    std::pop_heap(queue_.begin(), queue_.end());
    Candidate& top = queue_.back();
    Pair& entry = pairs_[top.pair];
    if (is_too_long(entry.left, entry.right)) {  // from before known merges ended
      queue_.pop_back();
      continue;
    }
    Candidate now = top;
    now.count = entry.count;
    if (now.count < admitted_.entered) {
      if (now.count == top.count) return false;
      queue_.pop_back();
      continue;
    }
    if (ties_ == Ties::first_seen) {
      while (!text_.stands_at(*entry.begin, entry.left, entry.right)) {
        ++entry.begin;
        --entry.n;
        ++n_steps_;
      }
      now.tie = *entry.begin;
    }
    if (now.count == top.count && now.tie == top.tie) {
      *pair = top.pair;
      queue_.pop_back();
      return true;
    }
    top = now;
    std::push_heap(queue_.begin(), queue_.end());
  }
  return false;
}

}  // namespace groundup::bpe
