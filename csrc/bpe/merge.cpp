#include "bpe/merge.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <initializer_list>

#include "bpe/alphabet.h"
#include "bpe/cells.h"
#include "bpe/pair_table.h"
#include "bpe/positions.h"

namespace groundup::bpe {
namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFFu;  // no id
constexpr std::uint64_t kMaxWindows = std::uint64_t{1} << 62;

struct Pair {
  std::int64_t count;          // windows now, each weighted by its chunk's count
  const std::uint32_t* begin;  // its occurrences when it was created, begin[0, n)
  std::uint32_t n;
  std::uint32_t block;  // of their memory
  std::uint32_t left;
  std::uint32_t right;
};

struct Candidate {
  std::int64_t count;  // when queued; the pair's count has only fallen since
  std::uint64_t tie;
  std::uint32_t pair;
  bool operator<(const Candidate& other) const noexcept {  // for a heap with the best on top
    return count != other.count ? count < other.count : tie > other.tie;
  }
};

// The neighbours of one side of the occurrences being merged, gathered by id.
struct Neighbours {
  struct Side {
    std::int64_t weight;  // zero between merges, as n
    std::uint32_t* next;  // where the next position of (neighbour, new) is written; null: nowhere
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

// Byte values in the order of Hugging Face's byte alphabet: printable ones first.
void huggingface_order(std::uint8_t* bytes) {
  const auto printable = [](int byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  };
  int n = 0;
  for (const bool first : {true, false})
    for (int byte = 0; byte < 256; ++byte)
      if (printable(byte) == first) bytes[n++] = static_cast<std::uint8_t>(byte);
}

class Trainer {
 public:
  Trainer(const ChunkList& chunks, const TrainingRules& rules) : chunks_(chunks), rules_(rules) {
    for (int id = 0; id < 256; ++id) byte_of_[id] = static_cast<std::uint8_t>(id);
    // Code points it takes in their order, which is that of our ids.
    if (rules.ties == Ties::huggingface && !rules.alphabet) huggingface_order(byte_of_);
    for (std::uint32_t id = 0; id < 256; ++id) id_of_byte_[byte_of_[id]] = id;
    lengths_.assign(256, 1);
    if (rules.known.empty()) {
      entered_ = expected_last();
      narrow();
    }
    if (rules.alphabet) {
      for (const std::uint32_t point : *rules.alphabet)
        lengths_.push_back(point < 0x800 ? 2 : point < 0x10000 ? 3 : 4);
      cells_ = lay_out_characters(chunks, Alphabet(*rules.alphabet));
    } else {
      cells_ = lay_out_bytes(chunks, id_of_byte_);
    }
    enter_pairs();
  }

  bool run(const Interrupted& interrupted, std::vector<Merge>* merges) {
    using Clock = std::chrono::steady_clock;
    auto asked = Clock::now();
    for (std::size_t n = 0; n < rules_.n_merges; ++n) {
      if (n == rules_.known.size()) narrow();
      std::uint32_t left, right;
      std::uint64_t count = 0;
      const std::uint32_t* known = nullptr;
      std::uint32_t pair;
      if (n < rules_.known.size()) {
        left = inner_id(rules_.known[n].first);
        right = inner_id(rules_.known[n].second);
        if ((known = table_.find(left, right))) pair = *known;
      } else {
        if (!pop_any(&pair)) break;
        known = &pair;
        left = pairs_[pair].left;
        right = pairs_[pair].right;
      }
      if (known) count = static_cast<std::uint64_t>(pairs_[pair].count);
      const std::uint32_t id = known ? merge(pair) : add_token(left, right);
      merges->push_back({outer_id(left), outer_id(right), id, count});
      if (n % 64 == 0 && Clock::now() - asked > std::chrono::milliseconds(50)) {
        if (interrupted()) return false;
        asked = Clock::now();
      }
    }
    return true;
  }

  std::uint64_t n_steps() const noexcept { return n_steps_; }

 private:
  std::uint32_t outer_id(std::uint32_t id) const { return id < 256 ? byte_of_[id] : id; }
  std::uint32_t inner_id(std::uint32_t id) const { return id < 256 ? id_of_byte_[id] : id; }

  // From here on pairs below the least frequency and tokens above the greatest length are out.
  // Known merges come before: theirs may be neither.
  void narrow() {
    least_ = static_cast<std::int64_t>(
        std::min(std::max<std::uint64_t>(rules_.min_frequency, 1), kMaxWindows));
    max_length_ = rules_.max_token_bytes;
    entered_ = std::max(entered_, least_);
  }

  // Half as much again as the n-th most frequent chunk counts: of n merges the last one counts two
  // to three times that, since a frequent chunk is a token in the end and its parts are before it.
  std::int64_t expected_last() const {
    if (rules_.n_merges >= chunks_.size() || rules_.n_merges == 0) return 1;
    std::vector<std::uint64_t> counts = chunks_.counts;
    const auto last = counts.begin() + static_cast<std::ptrdiff_t>(rules_.n_merges - 1);
    std::nth_element(counts.begin(), last, counts.end(), std::greater<std::uint64_t>());
    return static_cast<std::int64_t>(std::min<std::uint64_t>(*last, kMaxWindows) * 3 / 2);
  }

  bool is_too_long(std::uint32_t left, std::uint32_t right) const {
    return std::uint64_t{lengths_[left]} + lengths_[right] > max_length_;
  }

  std::int64_t weight_at(std::uint32_t at) {
    return static_cast<std::int64_t>(finder_.count_at(at));
  }

  // Enters the pairs that stand in the cells now, those below `entered_` left out.
  void enter_pairs() {
    pairs_ = {};
    queue_ = {};
    positions_ = Positions();
    table_ = PairTable<std::uint32_t>();
    n_steps_ += cells_.size();
    for (const FoundPair& pair :
         find_pairs(cells_, lengths_, chunks_.counts, entered_, &positions_))
      if (!is_too_long(pair.left, pair.right))
        add_pair(pair.left, pair.right, pair.weight, pair.positions, pair.n);
  }

  // Enters a pair that stands at positions.begin[0, n), and queues it.
  void add_pair(std::uint32_t left, std::uint32_t right, std::int64_t weight,
                Positions::Range positions, std::uint32_t n) {
    const auto index = static_cast<std::uint32_t>(pairs_.size());
    table_.insert(left, right, index);
    pairs_.push_back({weight, positions.begin, n, positions.block, left, right});
    queue_.push_back({weight,
                      rules_.ties == Ties::first_seen ? *positions.begin : pack_pair(left, right),
                      index});
    std::push_heap(queue_.begin(), queue_.end());
  }

  static std::uint32_t id_or_none(Cell cell) { return is_separator(cell) ? kNone : cell; }

  bool stands_at(std::uint32_t at, std::uint32_t left, std::uint32_t right) const {
    const std::uint32_t after = at + lengths_[left];
    return cells_[at] == left && cells_[after - 1] == left && cells_[after] == right;
  }

  // The best pair of all. Those below `entered_` are looked at when all others are merged.
  bool pop_any(std::uint32_t* pair) {
    while (!pop_best(pair)) {
      if (entered_ <= least_) return false;
      entered_ = std::max(entered_ / 4, least_);
      enter_pairs();
    }
    return true;
  }

  // Takes the best pair off the queue. An entry's count, and for first_seen its position, may be
  // older and better than the truth: it is then queued again with the truth.
  bool pop_best(std::uint32_t* pair) {
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
      if (now.count < entered_) {
        if (now.count == top.count) return false;
        queue_.pop_back();
        continue;
      }
      if (rules_.ties == Ties::first_seen) {
        while (!stands_at(*entry.begin, entry.left, entry.right)) {
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

  std::uint32_t add_token(std::uint32_t left, std::uint32_t right) {
    const std::uint64_t length = std::uint64_t{lengths_[left]} + lengths_[right];
    // Only a known token that stands nowhere can be that long.
    lengths_.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(length, kNone)));
    before_.of.resize(lengths_.size());
    after_.of.resize(lengths_.size());
    return static_cast<std::uint32_t>(lengths_.size() - 1);
  }

  // Replaces the pair wherever it stands, leftmost first, and returns the id that replaces it.
  std::uint32_t merge(std::uint32_t index) {
    const Pair pair = pairs_[index];
    const std::uint32_t id = add_token(pair.left, pair.right);
    const std::uint32_t length = lengths_[id];
    merged_.clear();
    constexpr std::uint32_t kAhead = 16;
    for (std::uint32_t i = 0; i < pair.n; ++i) {
      if (i + kAhead < pair.n) __builtin_prefetch(&cells_[pair.begin[i + kAhead]], 1);
      const std::uint32_t at = pair.begin[i];
      if (!stands_at(at, pair.left, pair.right)) continue;
      cells_[at] = id;
      cells_[at + length - 1] = id;
      merged_.push_back(at);
    }
    pairs_[index].count = 0;
    positions_.release(pair.block);
    n_steps_ += pair.n + merged_.size();
    gather(pair.left, pair.right, length);
    add_created(id);
    return id;
  }

  // Meets the neighbours of all merged occurrences and takes the windows they lost off.
  void gather(std::uint32_t left, std::uint32_t right, std::uint32_t length) {
    const std::size_t n = merged_.size();
    left_ids_.resize(n);
    right_ids_.resize(n);
    twin_weight_ = 0;
    n_twins_ = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t at = merged_[i];
      const std::int64_t weight = weight_at(at);
      const bool follows_merged = i > 0 && merged_[i - 1] + length == at;
      left_ids_[i] = follows_merged ? kNone : id_or_none(cells_[at - 1]);
      if (left_ids_[i] != kNone) before_.meet(left_ids_[i], weight);
      right_ids_[i] = id_or_none(cells_[at + length]);
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
  void take_off() {
    constexpr std::size_t kAhead = 8;
    const std::size_t n = lost_.size();
    for (std::size_t i = 0; i < n + kAhead; ++i) {
      if (i < n) table_.prefetch(lost_[i].left, lost_[i].right);
      if (i < kAhead / 2 || i - kAhead / 2 >= n) continue;
      Lost& lost = lost_[i - kAhead / 2];
      const std::uint32_t* const pair = table_.find(lost.left, lost.right);
      lost.left = pair ? *pair : kNone;
      if (pair) __builtin_prefetch(&pairs_[*pair], 1);
    }
    for (const Lost& lost : lost_)
      if (lost.left != kNone) pairs_[lost.left].count -= lost.weight;
  }

  // Enters the pairs that the new token forms: as many windows as the old ones lost. One that
  // starts below the least that is entered never reaches it and is dropped, as one too long.
  void add_created(std::uint32_t id) {
    const auto place = [&](std::uint32_t neighbour, std::int64_t weight, std::uint32_t n) {
      const bool drops = weight < entered_ || is_too_long(neighbour, id);
      return drops ? Positions::Range{} : positions_.allocate(n);
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
        *before_.of[before].next++ = at - lengths_[before];
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
        add_pair(side == &before_ ? neighbour : id, side == &before_ ? id : neighbour, of.weight,
                 {of.next - of.n, of.block}, of.n);
      }
    }
    if (twins.begin) add_pair(id, id, twin_weight_, twins, n_twins_);
    before_.clear();
    after_.clear();
  }

  static constexpr std::uint32_t kTwin = kNone - 1;  // the right neighbour was merged too

  const ChunkList& chunks_;
  const TrainingRules& rules_;
  std::int64_t least_ = 1;
  std::int64_t entered_ = 1;  // no pair below is in the table; never below least_
  std::uint64_t max_length_ = ~std::uint64_t{0};
  std::uint8_t byte_of_[256];  // ids below 256 in the order that breaks ties
  std::uint32_t id_of_byte_[256];

  std::vector<Cell> cells_;
  ChunkFinder finder_{cells_, chunks_};
  std::vector<std::uint32_t> lengths_;  // of tokens, in bytes, by id
  std::vector<Pair> pairs_;
  Positions positions_;
  PairTable<std::uint32_t> table_;  // to an index of pairs_
  std::vector<Candidate> queue_;

  // One merge's working space.
  std::vector<std::uint32_t> merged_, left_ids_, right_ids_;
  Neighbours before_, after_;
  struct Lost {
    std::uint32_t left, right;  // left is the pair's index once it is found, or kNone
    std::int64_t weight;
  };
  std::vector<Lost> lost_;
  std::int64_t twin_weight_ = 0;
  std::uint32_t n_twins_ = 0;
  std::uint64_t n_steps_ = 0;
};

}  // namespace

bool find_ties(const char* name, Ties* ties) noexcept {
  if (std::strcmp(name, "smallest_pair") == 0) return *ties = Ties::smallest_pair, true;
  if (std::strcmp(name, "huggingface") == 0) return *ties = Ties::huggingface, true;
  if (std::strcmp(name, "first_seen") == 0) return *ties = Ties::first_seen, true;
  return false;
}

bool train(const ChunkList& chunks, const TrainingRules& rules, const Interrupted& interrupted,
           std::vector<Merge>* merges, std::uint64_t* n_steps) {
  Trainer trainer(chunks, rules);
  const bool finished = trainer.run(interrupted, merges);
  *n_steps = trainer.n_steps();
  return finished;
}

}  // namespace groundup::bpe
