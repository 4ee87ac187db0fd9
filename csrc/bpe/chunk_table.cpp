#include "bpe/chunk_table.h"

#include <algorithm>
#include <stdexcept>

namespace groundup::bpe {
namespace {

constexpr std::size_t kLeastSlots = 1024;

}  // namespace

std::uint64_t checked_sum(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum))
    throw std::overflow_error("counts: a total passes 2^64 - 1; divide all counts by one factor.");
  return sum;
}

bool ChunkTable::make_room(std::size_t limit_bytes, std::size_t n_chunks) {
  std::size_t n_slots = std::max(kLeastSlots, entries_.size());
  while ((size_ + n_chunks) * 4 > n_slots * 3) n_slots *= 2;
  if (n_slots == entries_.size() && long_bytes_.size() <= limit_bytes / 8) return true;
  // While it grows, the table stands twice.
  const std::size_t peak = (n_slots + entries_.size()) * sizeof(Entry) + long_bytes_.capacity();
  if (size_ && (peak > limit_bytes || long_bytes_.size() > limit_bytes / 8)) return false;
  if (n_slots != entries_.size()) resize(n_slots);
  return true;
}

void ChunkTable::resize(std::size_t n_slots) {
  TableMemory<Entry> old(n_slots);
  old.swap(entries_);
  shift_ = static_cast<unsigned>(64 - __builtin_ctzll(n_slots));
  const std::size_t mask = n_slots - 1;
  for (const Entry& entry : old) {
    if (entry.count == 0) continue;
    std::size_t slot = home(hash_of(entry));
    while (entries_[slot].count) slot = (slot + 1) & mask;
    entries_[slot] = entry;
  }
}

void ChunkTable::bump(Entry& entry, std::uint64_t count, std::uint64_t first) {
  entry.count = checked_sum(entry.count, count);
  entry.first = std::min(entry.first, first);
}

void ChunkTable::add_short(const ChunkKey& key, std::uint64_t hash, std::uint64_t count,
                           std::uint64_t first) {
  const std::size_t mask = entries_.size() - 1;
  std::size_t slot = home(hash);
  for (; entries_[slot].count; slot = (slot + 1) & mask)
    if (entries_[slot].key == key) return bump(entries_[slot], count, first);
  entries_[slot] = {key, count, first};
  ++size_;
}

void ChunkTable::add_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t count,
                          std::uint64_t first) {
  const std::size_t mask = entries_.size() - 1;
  std::size_t slot = home(hash_bytes(chunk, n));
  for (; entries_[slot].count; slot = (slot + 1) & mask) {
    const ChunkKey& key = entries_[slot].key;
    if (key.high == (kLong | n) && std::memcmp(long_bytes_.data() + key.low, chunk, n) == 0)
      return bump(entries_[slot], count, first);
  }
  const ChunkKey key{long_bytes_.size(), kLong | n};
  long_bytes_.insert(long_bytes_.end(), chunk, chunk + n);
  entries_[slot] = {key, count, first};
  ++size_;
}

void ChunkTable::add(const CountedChunk& chunk) {
  if (chunk.size > kShortChunk) return add_long(chunk.bytes, chunk.size, chunk.count, chunk.first);
  const ChunkKey key = short_key(chunk.bytes, chunk.size, chunk.size);
  add_short(key, hash_key(key), chunk.count, chunk.first);
}

void ChunkTable::add_batch(const std::uint8_t* text, std::size_t at, std::size_t n,
                           const std::size_t* ends, std::size_t found, std::uint64_t first) {
  KeyBatch batch;
  batch.fill(text, at, n, ends, found,
             [&](std::uint64_t hash) { __builtin_prefetch(&entries_[home(hash)], 1); });
  for (std::size_t i = 0; i < found; at = ends[i++]) {
    if (batch.keys[i].high)
      add_short(batch.keys[i], batch.hashes[i], 1, first + at);
    else
      add_long(text + at, ends[i] - at, 1, first + at);
  }
}

bool ChunkTable::comes_before(const Entry& a, const Entry& b) const noexcept {
  if (is_long(a) || is_long(b)) {
    const CountedChunk left = counted(a), right = counted(b);
    return compare_chunks(left.bytes, left.size, right.bytes, right.size) < 0;
  }
  // The first byte is the lowest; the length, in the place of the last, puts a prefix first.
  const std::uint64_t low_a = __builtin_bswap64(a.key.low), low_b = __builtin_bswap64(b.key.low);
  if (low_a != low_b) return low_a < low_b;
  return __builtin_bswap64(a.key.high) < __builtin_bswap64(b.key.high);
}

void ChunkTable::sort() {
  const auto end =
      std::remove_if(entries_.begin(), entries_.end(), [](const Entry& e) { return e.count == 0; });
  std::sort(entries_.begin(), end,
            [&](const Entry& a, const Entry& b) { return comes_before(a, b); });
}

void ChunkTable::clear() {
  std::fill(entries_.begin(), entries_.end(), Entry{});
  size_ = 0;
  long_bytes_.clear();
}

}  // namespace groundup::bpe
