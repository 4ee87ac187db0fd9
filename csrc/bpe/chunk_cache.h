// Chunks that were encoded before and their ids. Bounded: a new chunk takes an old one's place.
//
// Short chunks, nearly all of most texts, take 32 bytes with up to four ids. Each has one place,
// which nine look-ups of ten ask and no more; a chunk that finds it taken stands at the other of
// that cache line, or in the next line. What is longer or has more ids takes two lines of its own,
// and a short chunk's entry then says so. Memory begins at 192 KiB and grows with what is kept, to
// 12 MiB: an encoder of little text holds little, and what it holds lies close together.
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

// Ids as an entry keeps them: their number stands above the first.
template <std::size_t kMost>
struct CachedIds {
  static_assert(kMost < std::size_t{1} << (32 - kIdBits), "the number fits above an id");
  std::uint32_t ids[kMost];

  std::size_t size() const noexcept { return ids[0] >> kIdBits; }
  // Writes `kAtOnce` places to `out`, and more only if there are more: what is no id is overwritten
  // by the next chunk.
  template <std::size_t kAtOnce = kMost>
  std::uint32_t* copy_to(std::uint32_t* out) const noexcept {
    std::uint32_t all[kAtOnce];
    std::memcpy(all, ids, sizeof all);
    for (std::uint32_t& id : all) id &= (1u << kIdBits) - 1;  // of all: then it is one store
    std::memcpy(out, all, sizeof all);
    if (kAtOnce < kMost && size() > kAtOnce)
      std::memcpy(out + kAtOnce, ids + kAtOnce, (size() - kAtOnce) * sizeof *ids);
    return out + size();
  }
  void keep(const std::uint32_t* begin, const std::uint32_t* end) noexcept {
    const auto count = static_cast<std::size_t>(end - begin);
    std::memcpy(ids, begin, count * sizeof *ids);
    ids[0] |= static_cast<std::uint32_t>(count) << kIdBits;
  }
};

class ChunkCache {
 public:
  static constexpr std::size_t kLine = 64;
  static constexpr std::size_t kShortIds = 4;
  static constexpr std::size_t kLongIds = 22, kLongChunk = 39;

  struct alignas(32) Short {
    ChunkKey key;
    CachedIds<kShortIds> ids;  // of what stands among the long ones: {its hash there}

    bool is_taken() const noexcept { return key.high != 0; }
    bool is_long() const noexcept { return key.high & kIsLong; }
  };
  struct alignas(2 * kLine) Long {
    std::uint8_t bytes[kLongChunk];  // zeros beyond the chunk
    std::uint8_t size;
    CachedIds<kLongIds> ids;

    bool holds(const std::uint8_t* chunk, std::size_t n) const noexcept {
      return size == n && std::memcmp(bytes, chunk, n) == 0;
    }
    bool holds(const ChunkKey& chunk) const noexcept {
      ChunkKey key;
      std::memcpy(&key, bytes, sizeof key);
      key.high |= static_cast<std::uint64_t>(size) << 56;
      return key == chunk;
    }
    std::uint32_t* copy_to(std::uint32_t* out) const noexcept { return ids.copy_to<6>(out); }
  };
  static_assert(sizeof(Short) == kLine / 2 && sizeof(Long) == 2 * kLine, "whole lines");

  ChunkCache() : shorts_(kFewestShorts), longs_(kFewestShorts / kShortsOfLong) {}

  Short* place_of(std::uint64_t hash) noexcept { return &shorts_[hash & (shorts_.size() - 1)]; }
  Long& long_at(std::uint64_t hash) noexcept { return longs_[hash & (longs_.size() - 1)]; }

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
  // The long entry of which a short one tells, if it is still there.
  const Long* find_long(const ChunkKey& key, const Short& told) noexcept {
    const Long& entry = long_at(told.ids.ids[0]);
    return entry.holds(key) ? &entry : nullptr;
  }

  void keep(const ChunkKey& key, const std::uint32_t* begin, const std::uint32_t* end) noexcept {
    Short entry{key, {}};
    entry.ids.keep(begin, end);
    add(entry);
  }
  // That the short chunk's ids are too many for its entry.
  void say_long(const ChunkKey& key, std::uint64_t hash) noexcept {
    if (find_elsewhere(key, place_of(hash_key(key)))) return;  // its long entry had gone
    add({{key.low, key.high | kIsLong}, {{static_cast<std::uint32_t>(hash)}}});
  }
  void keep_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t hash,
                 const std::uint32_t* begin, const std::uint32_t* end) noexcept {
    Long entry{};
    std::memcpy(entry.bytes, chunk, n);
    entry.size = static_cast<std::uint8_t>(n);
    entry.ids.keep(begin, end);
    long_at(hash) = entry;
    n_kept_ += kShortsOfLong;
  }

  // Moves all to more memory if a good part of what there is has been taken. References that were
  // given out end here.
  void grow_if_full() {
    if (n_kept_ > shorts_.size() / 4 && shorts_.size() < kMostShorts) grow();
  }

 private:
  static constexpr std::size_t kPlaces = 4;  // of two lines, where a short chunk can stand
  static constexpr std::uint64_t kIsLong = std::uint64_t{1} << 63;  // above a short key's length
  static constexpr std::size_t kFewestShorts = std::size_t{1} << 12, kShortsOfLong = 8, kGrowth = 8;
  static constexpr std::size_t kMostShorts = kFewestShorts * kGrowth * kGrowth;

  std::size_t index_of(const Short* entry) const noexcept {
    return static_cast<std::size_t>(entry - &shorts_[0]);
  }

  // At its place, beside it or in the next line, whichever is free; else at its place, and what
  // stood there takes the place beside, whose entry goes.
  void add(const Short& entry) noexcept {
    ++n_kept_;
    const std::size_t first =
        hash_key({entry.key.low, entry.key.high & ~kIsLong}) & (shorts_.size() - 1);
    for (std::size_t turn = 0; turn < kPlaces; ++turn) {
      Short& place = shorts_[first ^ turn];
      if (place.is_taken()) continue;
      place = entry;
      return;
    }
    shorts_[first ^ 1] = shorts_[first];
    shorts_[first] = entry;
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
      if (entry.size) {
        long_at(hash_bytes(entry.bytes, entry.size)) = entry;
        n_kept_ += kShortsOfLong;
      }
  }

  TableMemory<Short> shorts_;
  TableMemory<Long> longs_;
  std::size_t n_kept_ = 0;
};

}  // namespace groundup::bpe
