// One thread's distinct chunks and their counts: open addressing, linear probing.
//
// A chunk's place is told by its hash's upper bits, so that tables of any size hold the chunks in
// one order, nearly: several are merged a part of the hashes at a time, in little memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "bpe/chunk_key.h"
#include "bpe/split.h"
#include "bpe/table_memory.h"

namespace groundup::bpe {

// Throws std::overflow_error past 2^64 - 1.
std::uint64_t checked_sum(std::uint64_t a, std::uint64_t b);

// One chunk of a list or of a file: how often it occurs and where it first occurred.
struct CountedChunk {
  const std::uint8_t* bytes;
  std::size_t size;
  std::uint64_t count;
  std::uint64_t first;
};

// The order of sorted runs and of count tables: by bytes, a prefix before what it begins.
inline int compare_chunks(const std::uint8_t* a, std::size_t n_a, const std::uint8_t* b,
                          std::size_t n_b) noexcept {
  const int order = std::memcmp(a, b, n_a < n_b ? n_a : n_b);
  return order ? order : n_a < n_b ? -1 : n_a > n_b;
}

class ChunkTable {
 public:
  ChunkTable() = default;
  // For the chunks of one part (for_each_in), whose hashes begin alike.
  static ChunkTable of_one_part() {
    ChunkTable table;
    table.n_alike_ = kPartBits;
    return table;
  }

  // What must be called before up to kSplitBatch chunks are added, and what it answers when the
  // table would pass limit_bytes with them: false, the caller empties the table first.
  bool make_room(std::size_t limit_bytes, std::size_t n_chunks);

  // Counts the chunks of text[at, n) that end at ends[0, found), found <= kSplitBatch. `first` is
  // the text's position in the corpus.
  void add_batch(const std::uint8_t* text, std::size_t at, std::size_t n, const std::size_t* ends,
                 std::size_t found, std::uint64_t first);
  void add(const CountedChunk& chunk);

  void clear();

  std::size_t size() const noexcept { return size_; }
  std::size_t n_long_bytes() const noexcept { return long_bytes_.size(); }
  std::size_t memory_bytes() const noexcept {
    return entries_.size() * sizeof(Entry) + long_bytes_.capacity();
  }

  // Calls visit(CountedChunk) for all, in no order; what it points to lives during the call.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_)
      if (entry.count) visit(counted(entry));
  }
  // The same for the chunks of one part of kParts, by their hashes.
  static constexpr unsigned kPartBits = 8;
  static constexpr std::size_t kParts = std::size_t{1} << kPartBits;
  template <class Visit>
  void for_each_in(std::size_t part, Visit&& visit) const {
    const std::size_t n = entries_.size(), of_part = n / kParts;
    // Those that found their place taken stand behind it, up to the next free one.
    const auto end = [&](std::size_t at) { return at >= of_part && !is_used(part * of_part + at); };
    for (std::size_t at = 0; at < n && !end(at); ++at) {
      const Entry& entry = entries_[(part * of_part + at) & (n - 1)];
      if (entry.count && hash_of(entry) >> (64 - kPartBits) == part) visit(counted(entry));
    }
  }
  // The same in the order of compare_chunks; leaves the table empty.
  template <class Visit>
  void drain_sorted(Visit&& visit) {
    sort();
    for (std::size_t i = 0; i < size_; ++i) visit(counted(entries_[i]));
    clear();
  }

 private:
  // A chunk of 15 bytes at most is its key; a longer one is {offset into long_bytes, length} with
  // the top byte of `high` at kLong.
  struct Entry {
    ChunkKey key;
    std::uint64_t count;  // 0: the slot is free
    std::uint64_t first;
  };
  static constexpr std::uint64_t kLong = std::uint64_t{0xFF} << 56;
  static bool is_long(const Entry& entry) noexcept { return (entry.key.high & kLong) == kLong; }

  CountedChunk counted(const Entry& entry) const noexcept {
    if (is_long(entry))
      return {long_bytes_.data() + entry.key.low, entry.key.high & ~kLong, entry.count,
              entry.first};
    return {reinterpret_cast<const std::uint8_t*>(&entry.key), entry.key.high >> 56, entry.count,
            entry.first};
  }
  bool is_used(std::size_t slot) const noexcept {
    return entries_[slot & (entries_.size() - 1)].count != 0;
  }
  std::uint64_t hash_of(const Entry& entry) const noexcept {
    return is_long(entry) ? hash_bytes(long_bytes_.data() + entry.key.low, entry.key.high & ~kLong)
                          : hash_key(entry.key);
  }
  std::size_t home(std::uint64_t hash) const noexcept { return hash << n_alike_ >> shift_; }
  bool comes_before(const Entry& a, const Entry& b) const noexcept;
  void add_short(const ChunkKey& key, std::uint64_t hash, std::uint64_t count, std::uint64_t first);
  void add_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t count, std::uint64_t first);
  void bump(Entry& entry, std::uint64_t count, std::uint64_t first);
  void resize(std::size_t n_slots);
  void sort();

  TableMemory<Entry> entries_;
  unsigned shift_ = 0;    // 64 less the bits of a place
  unsigned n_alike_ = 0;  // upper bits that all hashes share
  std::size_t size_ = 0;
  std::vector<std::uint8_t> long_bytes_;
};

}  // namespace groundup::bpe
