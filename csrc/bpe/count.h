// Stage 2: the distinct chunks of a corpus and how often each occurs.
//
// Text repeats itself: 100 MB of English and code hold 25 million chunks but 272 thousand
// distinct ones, and training sees only those. Each thread counts into a table of its own; every
// entry remembers where its chunk first occurred, so that the merged list comes in order of first
// appearance whatever the threads did. A table that would pass its share of the memory allowed is
// written to disk as a sorted run and begun anew.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bpe/chunk_table.h"
#include "bpe/file.h"
#include "bpe/pieces.h"
#include "bpe/runs.h"
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

class ChunkCounts {
 public:
  // The tables take about `memory_bytes` together; what passes that goes to files in `folder`.
  explicit ChunkCounts(std::size_t memory_bytes = ~std::size_t{0}, std::string folder = "/tmp")
      : memory_bytes_(memory_bytes), runs_(std::move(folder)) {}

  // These add to the counts. An exception or `false` (interrupted) leaves them partial: discard.
  // Splits and counts valid UTF-8.
  bool add_texts(const std::vector<Text>& texts, Pattern pattern, std::size_t n_threads,
                 const Interrupted& interrupted);
  // The same for files, each one text. Throws FileFailure.
  bool add_files(const std::vector<std::string>& paths, Pattern pattern, std::size_t n_threads,
                 const Interrupted& interrupted);
  // Counts a chunk as it stands, whatever its bytes; an empty one or a zero count adds nothing.
  void add_chunk(const std::uint8_t* chunk, std::size_t n, std::uint64_t count);
  // Adds the records of a table whose chunks first occurred before `span`. Throws Malformed.
  bool add_records(CountReader* records, std::uint64_t span, const Interrupted& interrupted);

  std::uint64_t n_chunks() const noexcept { return n_chunks_; }  // all, not only distinct
  std::uint64_t n_bytes() const noexcept { return n_bytes_; }
  std::uint64_t span() const noexcept { return position_; }  // every first occurrence is below
  std::size_t n_runs_written() const noexcept { return runs_.n_written(); }
  std::size_t n_distinct();
  // In order of first appearance; valid until something is added. Takes the memory that it needs.
  const ChunkList& list();
  // Calls visit for every distinct chunk in the order of compare_chunks, within the memory allowed.
  void for_each_sorted(const std::function<void(const CountedChunk&)>& visit);

  // Bytes counted so far, while add_texts and add_files run.
  std::uint64_t n_bytes_seen() const noexcept { return n_bytes_seen_; }

 private:
  std::size_t share() const noexcept { return memory_bytes_ / tables_.size(); }
  void use_tables(std::size_t n_threads);
  std::uint64_t add_text(ChunkTable* table, const std::uint8_t* text, std::size_t n,
                         Pattern pattern, std::uint64_t first);
  void add_counted(const CountedChunk& chunk);
  template <class Visit>
  void for_each_joined(Visit&& visit);
  void spill_all();
  void relist();

  const std::size_t memory_bytes_;
  Runs runs_;
  std::vector<ChunkTable> tables_;
  // The tables' and runs' chunks as a list, and then no tables: they would hold the same again.
  ChunkList list_;
  std::vector<std::uint8_t> list_gaps_;  // from one chunk's first occurrence to the next one's
  bool listed_ = false;
  std::uint64_t n_chunks_ = 0;
  std::uint64_t n_bytes_ = 0;
  std::uint64_t position_ = 0;
  std::atomic<std::uint64_t> n_bytes_seen_{0};
};

}  // namespace groundup::bpe
