// Stage 2: the distinct chunks of a corpus and how often each occurs.
//
// Text repeats itself: 100 MB of English and code hold 25 million chunks but 272 thousand
// distinct ones, and training sees only those. Each thread counts into a table of its own; every
// entry remembers where its chunk first occurred, so that the merged list comes in order of first
// appearance whatever the threads did.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bpe/chunk_key.h"
#include "bpe/pieces.h"
#include "bpe/split.h"
#include "bpe/threads.h"

namespace groundup::bpe {

// Distinct chunks laid end to end: chunk i is bytes[starts[i], starts[i + 1]).
struct ChunkList {
  std::vector<std::uint8_t> bytes;
  std::vector<std::size_t> starts;
  std::vector<std::uint64_t> counts;
  std::size_t size() const noexcept { return counts.size(); }
};

// One thread's chunks: open addressing, linear probing.
class ChunkTable {
 public:
  // Splits a text and counts its chunks; returns how many. `first` is the text's position in the
  // corpus. Throws std::overflow_error when a count passes 2^64 - 1.
  std::uint64_t add_text(const std::uint8_t* text, std::size_t n, Pattern pattern,
                         std::uint64_t first);
  // Counts one chunk whose first occurrence is at `first`.
  void add(const std::uint8_t* chunk, std::size_t n, std::uint64_t count, std::uint64_t first);

  // A chunk of 15 bytes at most is its key; a longer one is {offset into long_bytes, length} with
  // the top byte of `high` at kLong.
  struct Entry {
    ChunkKey key;
    std::uint64_t count;  // 0: the slot is free
    std::uint64_t first;
  };
  static constexpr std::uint64_t kLong = std::uint64_t{0xFF} << 56;

  std::size_t size() const noexcept { return size_; }
  const std::vector<Entry>& entries() const noexcept { return entries_; }
  const std::vector<std::uint8_t>& long_bytes() const noexcept { return long_bytes_; }

 private:
  void add_short(const ChunkKey& key, std::uint64_t hash, std::uint64_t count, std::uint64_t first);
  void add_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t count, std::uint64_t first);
  void bump(Entry& entry, std::uint64_t count, std::uint64_t first);
  void insert(std::size_t slot, const ChunkKey& key, std::uint64_t count, std::uint64_t first);
  void grow();

  std::vector<Entry> entries_;
  std::size_t size_ = 0;
  std::vector<std::uint8_t> long_bytes_;
};

class ChunkCounts {
 public:
  // Splits and counts valid UTF-8; false when interrupted (the counts are then partial: discard).
  bool add_texts(const std::vector<Text>& texts, Pattern pattern, std::size_t n_threads,
                 const Interrupted& interrupted);
  // Counts a chunk as it stands, whatever its bytes; an empty one or a zero count adds nothing.
  void add_chunk(const std::uint8_t* chunk, std::size_t n, std::uint64_t count);

  std::uint64_t n_chunks() const noexcept { return n_chunks_; }  // all, not only distinct
  std::uint64_t n_bytes() const noexcept { return n_bytes_; }
  std::size_t n_distinct() { return list().size(); }
  const ChunkList& list();  // in order of first appearance; valid until something is added

 private:
  std::vector<ChunkTable> tables_;
  ChunkList list_;
  bool listed_ = true;
  std::uint64_t n_chunks_ = 0;
  std::uint64_t n_bytes_ = 0;
  std::uint64_t position_ = 0;
};

}  // namespace groundup::bpe
