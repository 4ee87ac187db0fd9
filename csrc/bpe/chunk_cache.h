// Chunks that were encoded before and their ids. Bounded: a new chunk takes an old one's place.
//
// Short chunks, nearly all of most texts, take 32 bytes with up to four ids. Each has one place,
// which nine look-ups of ten ask and no more; a chunk that finds it taken stands at the other of
// that cache line, or in the next lines. What is longer or has more ids takes four lines of its
// own, and a short chunk's entry then says so. Memory begins at 192 KiB and grows with what is
// kept, to 12 MiB: an encoder of little text holds little, and what it holds lies close together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bpe/chunk_key.h"
#include "bpe/table_memory.h"
#include "bpe/token_table.h"

namespace groundup::bpe {

constexpr std::uint32_t kIdBits = 24;
static_assert(kMostTokens <= std::size_t{1} << kIdBits, "an id leaves room for a number above it");

// Ids as a short chunk's entry keeps them: their number stands above the first.
struct FewIds {
  static constexpr std::size_t kMost = 4;
  std::uint32_t ids[kMost];

  // Writes all places to `out`: what is no id is overwritten by the next chunk.
  std::uint32_t* copy_to(std::uint32_t* out) const noexcept {
    std::uint32_t all[kMost];
    std::memcpy(all, ids, sizeof ids);
    for (std::uint32_t& id : all) id &= (1u << kIdBits) - 1;  // of all: then it is one store
    std::memcpy(out, all, sizeof ids);
    return out + (ids[0] >> kIdBits);
  }
  void keep(const std::uint32_t* begin, const std::uint32_t* end) noexcept {
    const auto count = static_cast<std::uint32_t>(end - begin);
    std::memcpy(ids, begin, count * sizeof *ids);
    ids[0] |= count << kIdBits;
  }
};

class ChunkCache {
 public:
  static constexpr std::size_t kLine = 64;
  static constexpr std::size_t kLongEntry = 4 * kLine;
  static constexpr std::size_t kLongChunk = kLongEntry - 8;  // a length in a byte, and one id

  struct alignas(32) Short {
    ChunkKey key;
    FewIds ids;  // of what stands among the long ones: {its hash there}

    bool is_taken() const noexcept { return key.high != 0; }
    bool is_long() const noexcept { return key.high & kIsLong; }
  };
  // Ids, then the chunk, then zeros: in the first line both, of most.
  struct alignas(kLine) Long {
    std::uint8_t size;  // of the chunk; 0 where there is none
    std::uint8_t count;
    std::uint8_t both[kLongEntry - 2];

    static constexpr std::size_t kAtOnce = 6;
    static bool fits(std::size_t n, std::size_t count) noexcept {
      return n + count * sizeof(std::uint32_t) <= sizeof both;
    }
    const std::uint8_t* chunk() const noexcept { return both + count * sizeof(std::uint32_t); }
    bool holds(const std::uint8_t* bytes, std::size_t n) const noexcept {
      return size == n && std::memcmp(chunk(), bytes, n) == 0;
    }
    // Writes kAtOnce places to `out`, and more only if there are more.
    std::uint32_t* copy_to(std::uint32_t* out) const noexcept {
      std::memcpy(out, both, kAtOnce * sizeof *out);
      if (count > kAtOnce) std::memcpy(out, both, count * sizeof *out);
      return out + count;
    }
  };
  static_assert(sizeof(Short) == kLine / 2 && sizeof(Long) == kLongEntry, "whole lines");

  ChunkCache() : shorts_(kFewestShorts), longs_(kFewestShorts / kShortsOfLong) {}

  // Where short chunks have their places, for a loop that asks for many; until it grows.
  struct Places {
    const Short* begin;
    std::size_t mask;
    const Short* of(const ChunkKey& key) const noexcept { return begin + (place_hash(key) & mask); }
  };
  Places places() const noexcept { return {&shorts_[0], shorts_.size() - 1}; }

  // The entry of a short chunk that its place does not hold, or holds as one of the long; or null.
  const Short* find_elsewhere(const ChunkKey& key, const Short* place) noexcept {
    const std::size_t first = index_of(place);
    for (std::size_t turn = 0; turn < kPlaces; ++turn) {
      const Short& entry = shorts_[first ^ turn];
      if (((entry.key.high ^ key.high) << 1 | (entry.key.low ^ key.low)) == 0) return &entry;
      if (!entry.is_taken()) break;
    }
    return nullptr;
  }
  // What is longer or has more ids; a short entry that says so has its hash.
  const Long* find_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t hash) noexcept {
    const std::size_t first = hash & (longs_.size() - 1);
    if (longs_[first].holds(chunk, n)) return &longs_[first];
    return longs_[first ^ 1].holds(chunk, n) ? &longs_[first ^ 1] : nullptr;
  }
  void prefetch_long(std::uint64_t hash) const noexcept {
    __builtin_prefetch(&longs_[hash & (longs_.size() - 1)]);
  }

  void keep(const ChunkKey& key, const std::uint32_t* begin, const std::uint32_t* end) noexcept {
    Short entry{key, {}};
    entry.ids.keep(begin, end);
    add(entry);
  }
  // That the short chunk's ids are too many for its entry.
  void say_long(const ChunkKey& key, std::uint64_t hash) noexcept {
    if (find_elsewhere(key, places().of(key))) return;  // its long entry had gone
    add({{key.low, key.high | kIsLong}, {{static_cast<std::uint32_t>(hash)}}});
  }
  void keep_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t hash,
                 const std::uint32_t* begin, const std::uint32_t* end) noexcept {
    Long entry{};
    entry.size = static_cast<std::uint8_t>(n);
    entry.count = static_cast<std::uint8_t>(end - begin);
    std::memcpy(entry.both, begin, entry.count * sizeof *begin);
    std::memcpy(entry.both + entry.count * sizeof *begin, chunk, n);
    add_long(entry, hash);
  }

  // Moves all to more memory if a good part of what there is has been taken. References that were
  // given out end here.
  void grow_if_full() {
    if (n_kept_ > shorts_.size() / 4 && shorts_.size() < kMostShorts) grow();
  }

 private:
  static constexpr std::size_t kPlaces = 8;  // of four lines, where a short chunk can stand
  static constexpr std::uint64_t kIsLong = std::uint64_t{1} << 63;  // above a short key's length
  static constexpr std::size_t kFewestShorts = std::size_t{1} << 12, kShortsOfLong = 16,
                               kGrowth = 8;
  static constexpr std::size_t kMostShorts = kFewestShorts * kGrowth * kGrowth;

  // A product's upper bits come of all bits of its factors; as many as kMostShorts has.
  static std::uint64_t place_hash(const ChunkKey& key) noexcept {
    return (key.low * 0x9E3779B97F4A7C15u + key.high * 0xD1B54A32D192ED03u) >> 46;
  }
  static_assert(kMostShorts == std::size_t{1} << (64 - 46), "every place can be one's");

  std::size_t index_of(const Short* entry) const noexcept {
    return static_cast<std::size_t>(entry - &shorts_[0]);
  }

  // At its place, beside it or in the next line, whichever is free; else at its place, and what
  // stood there takes the place beside, whose entry goes.
  void add(const Short& entry) noexcept {
    ++n_kept_;
    const std::size_t first = index_of(places().of({entry.key.low, entry.key.high & ~kIsLong}));
    for (std::size_t turn = 0; turn < kPlaces; ++turn) {
      Short& place = shorts_[first ^ turn];
      if (place.is_taken()) continue;
      place = entry;
      return;
    }
    shorts_[first ^ 1] = shorts_[first];
    shorts_[first] = entry;
  }

  // At its place or beside it; the newest stands at its place.
  void add_long(const Long& entry, std::uint64_t hash) noexcept {
    n_kept_ += kShortsOfLong / 2;
    const std::size_t first = hash & (longs_.size() - 1);
    if (longs_[first].size) longs_[first ^ 1] = longs_[first];
    longs_[first] = entry;
  }

  void grow() {
    TableMemory<Short> old_shorts(shorts_.size() * kGrowth);
    TableMemory<Long> old_longs(longs_.size() * kGrowth);
    old_shorts.swap(shorts_);
    old_longs.swap(longs_);
    n_kept_ = 0;
    for (const Short& entry : old_shorts)
      if (entry.is_taken()) add(entry);
    for (const Long& entry : old_longs)
      if (entry.size) add_long(entry, hash_bytes(entry.chunk(), entry.size));
  }

  TableMemory<Short> shorts_;
  TableMemory<Long> longs_;
  std::size_t n_kept_ = 0;
};

}  // namespace groundup::bpe
