#include "bpe/merge.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>

#include "bpe/alphabet.h"
#include "bpe/cells.h"
#include "bpe/pair_queue.h"
#include "bpe/replace.h"

namespace groundup::bpe {
namespace {

constexpr std::uint64_t kMaxWindows = std::uint64_t{1} << 62;

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
    text_.lengths.assign(256, 1);
    if (rules.known.empty()) {
      admitted_.entered = expected_last();
      narrow();
    }
    if (rules.alphabet) {
      for (const std::uint32_t point : *rules.alphabet)
        text_.lengths.push_back(point < 0x800 ? 2 : point < 0x10000 ? 3 : 4);
      text_.cells = lay_out_characters(chunks, Alphabet(*rules.alphabet));
    } else {
      text_.cells = lay_out_bytes(chunks, id_of_byte_);
    }
    pairs_.enter_all(chunks.counts);
  }
  Trainer(const Trainer&) = delete;  // its parts refer to one another

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
        if ((known = pairs_.find(left, right))) pair = *known;
      } else {
        if (!pop_any(&pair)) break;
        known = &pair;
        left = pairs_[pair].left;
        right = pairs_[pair].right;
      }
      if (known) count = static_cast<std::uint64_t>(pairs_[pair].count);
      const std::uint32_t id = known ? replacer_.replace(pair) : replacer_.add_token(left, right);
      merges->push_back({outer_id(left), outer_id(right), id, count});
      if (n % 64 == 0 && Clock::now() - asked > std::chrono::milliseconds(50)) {
        if (interrupted()) return false;
        asked = Clock::now();
      }
    }
    return true;
  }

  std::uint64_t n_steps() const noexcept { return pairs_.n_steps() + replacer_.n_steps(); }

 private:
  std::uint32_t outer_id(std::uint32_t id) const { return id < 256 ? byte_of_[id] : id; }
  std::uint32_t inner_id(std::uint32_t id) const { return id < 256 ? id_of_byte_[id] : id; }

  // From here on pairs below the least frequency and tokens above the greatest length are out.
  // Known merges come before: theirs may be neither.
  void narrow() {
    admitted_.least = static_cast<std::int64_t>(
        std::min(std::max<std::uint64_t>(rules_.min_frequency, 1), kMaxWindows));
    admitted_.max_length = rules_.max_token_bytes;
    admitted_.entered = std::max(admitted_.entered, admitted_.least);
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

  // The best pair of all. Those below `entered` are looked at when all others are merged.
  bool pop_any(std::uint32_t* pair) {
    while (!pairs_.pop(pair)) {
      if (admitted_.entered <= admitted_.least) return false;
      admitted_.entered = std::max(admitted_.entered / 4, admitted_.least);
      pairs_.enter_all(chunks_.counts);
    }
    return true;
  }

  const ChunkList& chunks_;
  const TrainingRules& rules_;
  std::uint8_t byte_of_[256];  // ids below 256 in the order that breaks ties
  std::uint32_t id_of_byte_[256];
  Admission admitted_;
  TokenText text_;
  PairQueue pairs_{text_, admitted_, rules_.ties, rules_.n_merges};
  Replacer replacer_{&text_, chunks_, &pairs_};
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
