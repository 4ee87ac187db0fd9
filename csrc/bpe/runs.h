// Counts that memory has no room for: sorted runs on disk, merged into one order when asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "bpe/chunk_table.h"
#include "bpe/count_file.h"

namespace groundup::bpe {

// The folder of runs could not be written to, or read from.
struct SpillError {
  int error;
};

class Runs {
 public:
  explicit Runs(std::string folder) : folder_(std::move(folder)) {}
  ~Runs() { clear(); }
  Runs(const Runs&) = delete;
  Runs& operator=(const Runs&) = delete;

  // Writes a table as one run and empties it; any number of threads may. Throws SpillError.
  void add(ChunkTable* table);
  bool empty() const noexcept { return n_runs_ == 0; }
  std::size_t n_written() const noexcept { return n_written_; }  // in all, for those who watch
  void clear() noexcept;

  // Calls visit(CountedChunk) for every distinct chunk in order, equal ones summed. Throws
  // SpillError, std::overflow_error, and what visit throws.
  void merged(const std::function<void(const CountedChunk&)>& visit) const;

 private:
  // No name leads to its file: the system removes it with the last descriptor, whatever ends the
  // process.
  struct Run {
    int descriptor;
    FileTotals totals;
  };
  int open_unnamed() const;
  static void merge(const std::vector<Run>& runs,
                    const std::function<void(const CountedChunk&)>& visit);

  const std::string folder_;
  std::mutex mutex_;
  // levels_[n] holds runs that were merged n times: no record is rewritten more often than that,
  // and no more than kFanIn files are open in a level.
  std::vector<std::vector<Run>> levels_;
  std::size_t n_runs_ = 0, n_written_ = 0;
};

}  // namespace groundup::bpe
