// One thread's distinct chunks and their counts: open addressing, linear probing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "bpe/chunk_key.h"
#include "bpe/split.h"

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
  // What must be called before up to kSplitBatch chunks are added, and what it answers when the
  // table would pass limit_bytes with them: false, the caller empties the table first.
  bool make_room(std::size_t limit_bytes, std::size_t n_chunks);

  // Counts the chunks of text[at, n) that end at ends[0, found), found <= kSplitBatch. `first` is
  // the text's position in the corpus.
  void add_batch(const std::uint8_t* text, std::size_t at, std::size_t n, const std::size_t* ends,
                 std::size_t found, std::uint64_t first);
  void add(const CountedChunk& chunk);

  std::size_t size() const noexcept { return size_; }
  std::size_t n_long_bytes() const noexcept { return long_bytes_.size(); }
  std::size_t memory_bytes() const noexcept {
    return entries_.capacity() * sizeof(Entry) + long_bytes_.capacity();
  }

  // Calls visit(CountedChunk) for all, in no order; what it points to lives during the call.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_)
      if (entry.count) visit(counted(entry));
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
  bool comes_before(const Entry& a, const Entry& b) const noexcept;
  void add_short(const ChunkKey& key, std::uint64_t hash, std::uint64_t count, std::uint64_t first);
  void add_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t count, std::uint64_t first);
  void bump(Entry& entry, std::uint64_t count, std::uint64_t first);
  void resize(std::size_t n_slots);
  void sort();
  void clear();

  std::vector<Entry> entries_;
  std::size_t size_ = 0;
  std::vector<std::uint8_t> long_bytes_;
};

}  // namespace groundup::bpe
