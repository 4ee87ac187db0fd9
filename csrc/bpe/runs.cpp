#include "bpe/runs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>

namespace groundup::bpe {
namespace {

constexpr std::size_t kFanIn = 64;

// The readers with the smallest chunk on top of a heap.
struct Later {
  bool operator()(const CountReader* a, const CountReader* b) const noexcept {
    return compare_chunks(a->chunk().bytes, a->chunk().size, b->chunk().bytes, b->chunk().size) > 0;
  }
};

}  // namespace

int Runs::open_unnamed() const {
  std::string name = folder_ + "/groundup-counts-XXXXXX";
  const int descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) throw SpillError{errno};
  ::unlink(name.c_str());
  return descriptor;
}

void Runs::merge(const std::vector<Run>& runs,
                 const std::function<void(const CountedChunk&)>& visit) {
  std::vector<std::unique_ptr<CountReader>> readers;
  std::vector<CountReader*> heap;
  std::vector<std::uint8_t> bytes;
  const auto advance = [&](CountReader* reader) {
    try {
      if (!reader->next()) return;
    } catch (const std::system_error& error) {
      throw SpillError{error.code().value()};
    } catch (const Malformed&) {  // we wrote it: the disk lost something
      throw SpillError{EIO};
    }
    heap.push_back(reader);
    std::push_heap(heap.begin(), heap.end(), Later());
  };
  for (const Run& run : runs) {
    readers.push_back(std::make_unique<CountReader>(run.descriptor, 0, run.totals));
    advance(readers.back().get());
  }
  const auto take = [&] {
    std::pop_heap(heap.begin(), heap.end(), Later());
    CountReader* const reader = heap.back();
    heap.pop_back();
    return reader;
  };
  while (!heap.empty()) {
    CountReader* reader = take();
    CountedChunk chunk = reader->chunk();
    bytes.assign(chunk.bytes, chunk.bytes + chunk.size);  // the reader goes on
    chunk.bytes = bytes.data();
    advance(reader);
    while (!heap.empty()) {
      const CountedChunk& same = heap.front()->chunk();
      if (compare_chunks(same.bytes, same.size, chunk.bytes, chunk.size) != 0) break;
      chunk.count = checked_sum(chunk.count, same.count);
      chunk.first = std::min(chunk.first, same.first);
      advance(take());
    }
    visit(chunk);
  }
}

void Runs::add(ChunkTable* table) {
  if (table->size() == 0) return;
  const auto written = [&](auto&& produce) {
    Run run{open_unnamed(), {}};
    try {
      CountWriter writer(run.descriptor);
      produce([&](const CountedChunk& chunk) { writer.put(chunk); });
      run.totals = writer.finish();
    } catch (const std::system_error& error) {
      ::close(run.descriptor);
      throw SpillError{error.code().value()};
    } catch (...) {
      ::close(run.descriptor);
      throw;
    }
    return run;
  };
  const Run run = written([&](auto&& put) { table->drain_sorted(put); });
  const std::lock_guard<std::mutex> lock(mutex_);
  if (levels_.empty()) levels_.resize(1);
  levels_[0].push_back(run);
  ++n_runs_;
  ++n_written_;
  for (std::size_t level = 0; levels_[level].size() >= kFanIn; ++level) {
    const Run joined = written([&](auto&& put) { merge(levels_[level], put); });
    for (const Run& old : levels_[level]) ::close(old.descriptor);
    n_runs_ -= levels_[level].size() - 1;
    levels_[level].clear();
    if (level + 1 == levels_.size()) levels_.emplace_back();
    levels_[level + 1].push_back(joined);
  }
}

void Runs::merged(const std::function<void(const CountedChunk&)>& visit) const {
  std::vector<Run> all;
  for (const auto& level : levels_) all.insert(all.end(), level.begin(), level.end());
  merge(all, visit);
}

void Runs::clear() noexcept {
  for (const auto& level : levels_)
    for (const Run& run : level) ::close(run.descriptor);
  levels_.clear();
  n_runs_ = 0;
}

}  // namespace groundup::bpe
