#include "bpe/count.h"

#include <algorithm>
#include <stdexcept>

namespace groundup::bpe {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

std::uint64_t checked_sum(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum))
    throw std::overflow_error("counts: a total passes 2^64 - 1; divide all counts by one factor.");
  return sum;
}

std::uint64_t hash_entry(const ChunkTable::Entry& entry, const std::vector<std::uint8_t>& bytes) {
  if ((entry.key.high & ChunkTable::kLong) != ChunkTable::kLong) return hash_key(entry.key);
  return hash_bytes(bytes.data() + entry.key.low, entry.key.high & ~ChunkTable::kLong);
}

}  // namespace

void ChunkTable::bump(Entry& entry, std::uint64_t count, std::uint64_t first) {
  entry.count = checked_sum(entry.count, count);
  entry.first = std::min(entry.first, first);
}

void ChunkTable::insert(std::size_t slot, const ChunkKey& key, std::uint64_t count,
                        std::uint64_t first) {
  entries_[slot] = {key, count, first};
  if (++size_ * 4 > entries_.size() * 3) grow();
}

void ChunkTable::grow() {
  std::vector<Entry> old(std::max<std::size_t>(1024, entries_.size() * 2));
  old.swap(entries_);
  const std::size_t mask = entries_.size() - 1;
  for (const Entry& entry : old) {
    if (entry.count == 0) continue;
    std::size_t slot = hash_entry(entry, long_bytes_) & mask;
    while (entries_[slot].count) slot = (slot + 1) & mask;
    entries_[slot] = entry;
  }
}

void ChunkTable::add_short(const ChunkKey& key, std::uint64_t hash, std::uint64_t count,
                           std::uint64_t first) {
  const std::size_t mask = entries_.size() - 1;
  std::size_t slot = hash & mask;
  for (; entries_[slot].count; slot = (slot + 1) & mask)
    if (entries_[slot].key == key) return bump(entries_[slot], count, first);
  insert(slot, key, count, first);
}

void ChunkTable::add_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t count,
                          std::uint64_t first) {
  const std::size_t mask = entries_.size() - 1;
  std::size_t slot = hash_bytes(chunk, n) & mask;
  for (; entries_[slot].count; slot = (slot + 1) & mask) {
    const ChunkKey& key = entries_[slot].key;
    if (key.high == (kLong | n) && std::memcmp(long_bytes_.data() + key.low, chunk, n) == 0)
      return bump(entries_[slot], count, first);
  }
  const ChunkKey key{long_bytes_.size(), kLong | n};
  long_bytes_.insert(long_bytes_.end(), chunk, chunk + n);
  insert(slot, key, count, first);
}

void ChunkTable::add(const std::uint8_t* chunk, std::size_t n, std::uint64_t count,
                     std::uint64_t first) {
  if (entries_.empty()) grow();
  if (n > kShortChunk) return add_long(chunk, n, count, first);
  const ChunkKey key = short_key(chunk, n, n);
  add_short(key, hash_key(key), count, first);
}

std::uint64_t ChunkTable::add_text(const std::uint8_t* text, std::size_t n, Pattern pattern,
                                   std::uint64_t first) {
  if (entries_.empty()) grow();
  std::uint64_t n_chunks = 0;
  KeyBatch batch;
  for_each_batch(pattern, text, n, [&](std::size_t at, const std::size_t* ends, std::size_t found) {
    const std::size_t mask = entries_.size() - 1;
    batch.fill(text, at, n, ends, found,
               [&](std::uint64_t hash) { __builtin_prefetch(&entries_[hash & mask], 1); });
    for (std::size_t i = 0; i < found; at = ends[i++]) {
      if (batch.keys[i].high)
        add_short(batch.keys[i], batch.hashes[i], 1, first + at);
      else
        add_long(text + at, ends[i] - at, 1, first + at);
    }
    n_chunks += found;
  });
  return n_chunks;
}

bool ChunkCounts::add_texts(const std::vector<Text>& texts, Pattern pattern, std::size_t n_threads,
                            const Interrupted& interrupted) {
  const Pieces pieces(texts, pattern, kPieceBytes);
  n_threads = std::max<std::size_t>(1, std::min(n_threads, pieces.n_groups()));
  if (tables_.size() < n_threads) tables_.resize(n_threads);
  std::vector<std::uint64_t> n_found(n_threads);
  listed_ = false;
  const bool finished = run_threads(
      pieces.n_groups(), n_threads, interrupted, [&](std::size_t group, std::size_t thread) {
        for (const Piece& piece : pieces.group(group))
          n_found[thread] += tables_[thread].add_text(piece.begin, piece.size, pattern,
                                                      position_ + piece.position);
      });
  for (const std::uint64_t found : n_found) n_chunks_ = checked_sum(n_chunks_, found);
  n_bytes_ = checked_sum(n_bytes_, pieces.n_bytes());
  position_ += pieces.n_bytes();
  return finished;
}

void ChunkCounts::add_chunk(const std::uint8_t* chunk, std::size_t n, std::uint64_t count) {
  if (n == 0 || count == 0) return;
  std::uint64_t bytes;
  if (__builtin_mul_overflow(count, n, &bytes)) bytes = ~std::uint64_t{0};
  const std::uint64_t n_chunks = checked_sum(n_chunks_, count);
  const std::uint64_t n_bytes = checked_sum(n_bytes_, bytes);
  if (tables_.empty()) tables_.resize(1);
  listed_ = false;
  tables_[0].add(chunk, n, count, position_);
  n_chunks_ = n_chunks;
  n_bytes_ = n_bytes;
  position_ += n;
}

const ChunkList& ChunkCounts::list() {
  if (listed_) return list_;
  list_ = ChunkList();
  // One table of all, then its entries in order.
  for (std::size_t t = 1; t < tables_.size(); ++t) {
    for (const ChunkTable::Entry& entry : tables_[t].entries()) {
      if (entry.count == 0) continue;
      if ((entry.key.high & ChunkTable::kLong) == ChunkTable::kLong) {
        const std::size_t n = entry.key.high & ~ChunkTable::kLong;
        tables_[0].add(tables_[t].long_bytes().data() + entry.key.low, n, entry.count, entry.first);
      } else {
        std::uint8_t chunk[16];
        std::memcpy(chunk, &entry.key, 16);
        tables_[0].add(chunk, entry.key.high >> 56, entry.count, entry.first);
      }
    }
    tables_[t] = ChunkTable();
  }
  if (tables_.empty()) tables_.resize(1);
  tables_.resize(1);
  const ChunkTable& table = tables_[0];
  std::vector<std::pair<std::uint64_t, std::size_t>> order;  // (first, slot)
  order.reserve(table.size());
  std::size_t n_bytes = 0;
  for (std::size_t slot = 0; slot < table.entries().size(); ++slot) {
    const ChunkTable::Entry& entry = table.entries()[slot];
    if (entry.count == 0) continue;
    order.emplace_back(entry.first, slot);
    const std::uint64_t top = entry.key.high & ChunkTable::kLong;
    n_bytes += top == ChunkTable::kLong ? entry.key.high & ~ChunkTable::kLong : top >> 56;
  }
  std::sort(order.begin(), order.end());
  list_.bytes.resize(n_bytes);
  list_.starts.reserve(order.size() + 1);
  list_.counts.reserve(order.size());
  std::size_t at = 0;
  list_.starts.push_back(0);
  for (const auto& [first, slot] : order) {
    const ChunkTable::Entry& entry = table.entries()[slot];
    std::size_t n = entry.key.high >> 56;
    if (n == 0xFF) {
      n = entry.key.high & ~ChunkTable::kLong;
      std::memcpy(list_.bytes.data() + at, table.long_bytes().data() + entry.key.low, n);
    } else {
      std::memcpy(list_.bytes.data() + at, &entry.key, n);
    }
    at += n;
    list_.starts.push_back(at);
    list_.counts.push_back(entry.count);
  }
  listed_ = true;
  return list_;
}

}  // namespace groundup::bpe
