#include "bpe/count.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <stdexcept>

#include "bpe/numbers.h"
#include "bpe/unicode.h"

namespace groundup::bpe {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 19;
constexpr auto kPatience = std::chrono::milliseconds(50);

using Clock = std::chrono::steady_clock;

// Indices of `firsts` in rising order: 11 bits a pass, the lowest first.
std::vector<std::uint32_t> order_of(const std::vector<std::uint64_t>& firsts) {
  constexpr unsigned kBits = 11;
  constexpr std::size_t kBuckets = std::size_t{1} << kBits;
  const std::size_t n = firsts.size();
  if (n > 0xFFFFFFFFu)
    throw std::invalid_argument("counts: expected fewer than 2^32 distinct chunks, got " +
                                std::to_string(n) +
                                "; count less text or with a pattern that cuts it finer.");
  std::vector<std::uint32_t> order(n), next(n);
  for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<std::uint32_t>(i);
  std::uint64_t largest = 0;
  for (const std::uint64_t first : firsts) largest = std::max(largest, first);
  for (unsigned shift = 0; shift < 64 && largest >> shift; shift += kBits) {
    std::size_t begins[kBuckets + 1] = {};
    for (const std::uint64_t first : firsts) ++begins[(first >> shift & (kBuckets - 1)) + 1];
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) begins[bucket + 1] += begins[bucket];
    for (const std::uint32_t i : order) next[begins[firsts[i] >> shift & (kBuckets - 1)]++] = i;
    order.swap(next);
  }
  return order;
}

}  // namespace

// Tables for `n_threads`, none of them above its share.
void ChunkCounts::use_tables(std::size_t n_threads) {
  if (listed_) relist();
  if (tables_.size() >= n_threads) return;
  tables_.resize(n_threads);
  for (ChunkTable& table : tables_) {
    if (table.memory_bytes() <= share()) continue;
    runs_.add(&table);
    table = ChunkTable();
  }
}

std::uint64_t ChunkCounts::add_text(ChunkTable* table, const std::uint8_t* text, std::size_t n,
                                    Pattern pattern, std::uint64_t first) {
  std::uint64_t n_chunks = 0;
  for_each_batch(pattern, text, n, [&](std::size_t at, const std::size_t* ends, std::size_t found) {
    while (!table->make_room(share(), found)) runs_.add(table);
    table->add_batch(text, at, n, ends, found, first);
    n_chunks += found;
  });
  n_bytes_seen_.fetch_add(n, std::memory_order_relaxed);
  return n_chunks;
}

bool ChunkCounts::add_texts(const std::vector<Text>& texts, Pattern pattern, std::size_t n_threads,
                            const Interrupted& interrupted) {
  const Pieces pieces(texts, pattern, kPieceBytes);
  n_threads = std::max<std::size_t>(1, std::min(n_threads, pieces.n_groups()));
  use_tables(n_threads);
  std::vector<std::uint64_t> n_found(n_threads);
  const bool finished = run_threads(
      pieces.n_groups(), n_threads, interrupted, [&](std::size_t group, std::size_t thread) {
        for (const Piece& piece : pieces.group(group))
          n_found[thread] += add_text(&tables_[thread], piece.begin, piece.size, pattern,
                                      position_ + piece.position);
      });
  for (const std::uint64_t found : n_found) n_chunks_ = checked_sum(n_chunks_, found);
  n_bytes_ = checked_sum(n_bytes_, pieces.n_bytes());
  position_ = checked_sum(position_, pieces.n_bytes());
  return finished;
}

bool ChunkCounts::add_files(const std::vector<std::string>& paths, Pattern pattern,
                            std::size_t n_threads, const Interrupted& interrupted) {
  n_threads = std::max<std::size_t>(1, n_threads);
  use_tables(n_threads);
  TextFiles files(paths, pattern);
  std::vector<std::uint64_t> n_found(n_threads);
  std::mutex mutex;
  std::optional<FileFailure> first_failure;  // parts before a failure's are all handed out by then
  std::atomic<bool> stop{false};
  const Interrupted asked = [&] {
    if (interrupted()) stop = true;
    return stop.load();
  };
  const auto count = [&](std::size_t thread, const std::function<bool()>& stopped) {
    FilePart part;
    try {
      while (files.next(&part, stopped)) {
        const std::size_t valid = find_invalid_utf8(part.buffer.data(), part.size);
        if (valid != part.size)
          throw FileFailure{part.file, part.offset + valid, FileFailure::Kind::no_utf8, 0};
        n_found[thread] += add_text(&tables_[thread], part.buffer.data(), part.size, pattern,
                                    position_ + part.position);
      }
    } catch (const FileFailure& failure) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!first_failure || failure < *first_failure) first_failure = failure;
      stop = true;
    } catch (...) {
      stop = true;
      throw;
    }
  };
  bool finished;
  if (n_threads == 1) {
    auto last = Clock::now();
    count(0, [&] {
      if (!stop && Clock::now() - last > kPatience) {
        asked();
        last = Clock::now();
      }
      return stop.load();
    });
    finished = !stop;
  } else {
    finished = run_threads(n_threads, n_threads, asked, [&](std::size_t thread, std::size_t) {
      count(thread, [&] { return stop.load(std::memory_order_relaxed); });
    });
  }
  if (first_failure) throw *first_failure;
  for (const std::uint64_t found : n_found) n_chunks_ = checked_sum(n_chunks_, found);
  n_bytes_ = checked_sum(n_bytes_, files.n_bytes());
  position_ = checked_sum(position_, files.n_bytes());
  return finished;
}

void ChunkCounts::add_counted(const CountedChunk& chunk) {
  std::uint64_t bytes;
  if (__builtin_mul_overflow(chunk.count, chunk.size, &bytes)) bytes = ~std::uint64_t{0};
  const std::uint64_t n_chunks = checked_sum(n_chunks_, chunk.count);
  const std::uint64_t n_bytes = checked_sum(n_bytes_, bytes);
  while (!tables_[0].make_room(share(), 1)) runs_.add(&tables_[0]);
  tables_[0].add(chunk);
  n_chunks_ = n_chunks;
  n_bytes_ = n_bytes;
}

void ChunkCounts::add_chunk(const std::uint8_t* chunk, std::size_t n, std::uint64_t count) {
  if (n == 0 || count == 0) return;
  use_tables(1);
  add_counted({chunk, n, count, position_});
  position_ = checked_sum(position_, n);
}

bool ChunkCounts::add_records(CountReader* records, std::uint64_t span,
                              const Interrupted& interrupted) {
  use_tables(1);
  auto asked = Clock::now();
  checked_sum(position_, span);
  for (std::size_t n = 0; records->next(); ++n) {
    CountedChunk chunk = records->chunk();
    if (chunk.first >= span) throw Malformed{"a chunk first occurs after the text's end"};
    chunk.first += position_;
    add_counted(chunk);
    if (n % 4096 == 0 && Clock::now() - asked > kPatience) {
      if (interrupted()) return false;
      asked = Clock::now();
    }
  }
  position_ += span;
  return true;
}

// Visits the chunks of all tables, each once. They stay apart: joined they would need a table that
// holds them all beside those that do.
template <class Visit>
void ChunkCounts::for_each_joined(Visit&& visit) {
  ChunkTable joined = ChunkTable::of_one_part();
  for (std::size_t part = 0; part < ChunkTable::kParts; ++part) {
    for (const ChunkTable& table : tables_)
      table.for_each_in(part, [&](const CountedChunk& chunk) {
        joined.make_room(~std::size_t{0}, 1);
        joined.add(chunk);
      });
    joined.for_each(visit);
    joined.clear();
  }
}

void ChunkCounts::spill_all() {
  for (ChunkTable& table : tables_) runs_.add(&table);
  tables_.clear();
}

std::size_t ChunkCounts::n_distinct() {
  if (listed_) return list_.size();
  std::size_t n = 0;
  const auto count = [&](const CountedChunk&) { ++n; };
  if (runs_.empty()) {
    for_each_joined(count);
  } else {
    spill_all();
    runs_.merged(count);
  }
  return n;
}

const ChunkList& ChunkCounts::list() {
  if (listed_) return list_;
  ChunkList found;
  std::vector<std::uint64_t> firsts;
  const auto append = [&](const CountedChunk& chunk) {
    found.starts.push_back(found.bytes.size());
    found.bytes.insert(found.bytes.end(), chunk.bytes, chunk.bytes + chunk.size);
    found.counts.push_back(chunk.count);
    firsts.push_back(chunk.first);
  };
  if (runs_.empty()) {
    std::size_t most = 0;
    for (const ChunkTable& table : tables_) most += table.size();
    found.starts.reserve(most + 1), found.counts.reserve(most), firsts.reserve(most);
    for_each_joined(append);
    tables_.clear();
  } else {
    spill_all();
    runs_.merged(append);
  }
  found.starts.push_back(found.bytes.size());

  const std::vector<std::uint32_t> order = order_of(firsts);
  list_ = ChunkList();
  list_gaps_.clear();
  list_.bytes.resize(found.bytes.size());
  list_.starts.reserve(order.size() + 1);
  list_.counts.reserve(order.size());
  std::size_t at = 0;
  std::uint64_t last_first = 0;
  list_.starts.push_back(0);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t begin = found.starts[order[i]], n = found.starts[order[i] + 1] - begin;
    std::memcpy(list_.bytes.data() + at, found.bytes.data() + begin, n);
    at += n;
    list_.starts.push_back(at);
    list_.counts.push_back(found.counts[order[i]]);
    put_number(firsts[order[i]] - last_first, &list_gaps_);
    last_first = firsts[order[i]];
  }
  runs_.clear();
  listed_ = true;
  return list_;
}

// Back from the list to a table, to be added to.
void ChunkCounts::relist() {
  listed_ = false;
  tables_.resize(1);
  const std::uint8_t* gap = list_gaps_.data();
  std::uint64_t first = 0;
  for (std::size_t i = 0; i < list_.size(); ++i) {
    first += take_number(&gap);
    while (!tables_[0].make_room(share(), 1)) runs_.add(&tables_[0]);
    tables_[0].add({list_.bytes.data() + list_.starts[i], list_.starts[i + 1] - list_.starts[i],
                    list_.counts[i], first});
  }
  list_ = ChunkList();
  list_gaps_ = {};
}

void ChunkCounts::for_each_sorted(const std::function<void(const CountedChunk&)>& visit) {
  if (listed_) relist();
  if (runs_.empty()) {
    ChunkTable sorted;
    for_each_joined([&](const CountedChunk& chunk) {
      sorted.make_room(~std::size_t{0}, 1);
      sorted.add(chunk);
    });
    sorted.drain_sorted(visit);
  } else {
    spill_all();
    runs_.merged(visit);
  }
}

}  // namespace groundup::bpe
