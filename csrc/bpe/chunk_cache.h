// Chunks that were encoded before and their ids. Bounded: a new chunk takes an old one's place.
//
// Short chunks, nearly all of most texts, take 32 bytes with up to four ids; the two that a hash
// can stand at share a cache line, and one that has no room there stands in the next line. What is
// longer or has more ids takes a line of its own. Memory begins at 160 KiB and grows with what is
// kept, to 10 MiB: an encoder of little text holds little, and what it holds lies close together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "bpe/chunk_key.h"
#include "bpe/table_memory.h"
#include "bpe/token_table.h"

namespace groundup::bpe {

constexpr std::uint32_t kIdBits = 29;
static_assert(kMostTokens <= std::size_t{1} << kIdBits, "an id leaves room for a number above it");

// Ids as an entry keeps them: their number stands above the first.
template <std::size_t kMost>
struct CachedIds {
  static_assert(kMost < std::size_t{1} << (32 - kIdBits), "the number fits above an id");
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
    const auto count = static_cast<std::size_t>(end - begin);
    std::memcpy(ids, begin, count * sizeof *ids);
    ids[0] |= static_cast<std::uint32_t>(count) << kIdBits;
  }
};

class ChunkCache {
 public:
  static constexpr std::size_t kLine = 64;
  static constexpr std::size_t kShortIds = 4;
  static constexpr std::size_t kLongIds = 6, kLongChunk = 39;

  struct Short {
    ChunkKey key;
    CachedIds<kShortIds> ids;
  };
  struct alignas(kLine) Pair {
    Short ways[2];

    // The chunk's entry, or null. No branch but the last: which way it is cannot be foretold.
    const Short* find(const ChunkKey& key) const noexcept {
      const std::uint64_t first = ways[0].key.differs(key), second = ways[1].key.differs(key);
      const Short* const way = &ways[first != 0];
      return __builtin_expect((first != 0) & (second != 0), 0) ? nullptr : way;
    }
    bool is_full() const noexcept { return ways[1].key.high != 0; }
    void add(const Short& entry) noexcept {
      ways[1] = ways[0];  // the older of the two goes
      ways[0] = entry;
    }
  };
  struct alignas(kLine) Long {
    std::uint8_t bytes[kLongChunk];
    std::uint8_t size;
    CachedIds<kLongIds> ids;

    bool holds(const std::uint8_t* chunk, std::size_t n) const noexcept {
      return size == n && std::memcmp(bytes, chunk, n) == 0;
    }
  };
  static_assert(sizeof(Pair) == kLine && sizeof(Long) == kLine, "one line each");

  ChunkCache() : pairs_(kFewestPairs), longs_(kFewestPairs / kPairsOfLong) {}

  Pair& pair_at(std::uint64_t hash) noexcept { return pairs_[hash & (pairs_.size() - 1)]; }
  Long& long_at(std::uint64_t hash) noexcept { return longs_[hash & (longs_.size() - 1)]; }

  // A chunk for which its line had no room stands in the other of two lines.
  const Short* find_beside(const ChunkKey& key, const Pair* pair) const noexcept {
    return pair->is_full() ? beside(pair).find(key) : nullptr;
  }
  void keep(const ChunkKey& key, Pair* pair, const std::uint32_t* begin,
            const std::uint32_t* end) noexcept {
    Short entry{key, {}};
    entry.ids.keep(begin, end);
    add(pair, entry);
  }

  // That the chunk's ids are too many for a pair, and stand among the long ones.
  bool says_long(const ChunkKey& key, const Pair* pair) const noexcept {
    return pair->find(marked(key)) || find_beside(marked(key), pair);
  }
  void say_long(const ChunkKey& key, Pair* pair) noexcept { add(pair, {marked(key), {}}); }

  void keep_long(const std::uint8_t* chunk, std::size_t n, std::uint64_t hash,
                 const std::uint32_t* begin, const std::uint32_t* end) noexcept {
    Long& entry = long_at(hash);
    std::memcpy(entry.bytes, chunk, n);
    entry.size = static_cast<std::uint8_t>(n);
    entry.ids.keep(begin, end);
    n_kept_ += kPairsOfLong;
  }

  // Moves all to more memory if a good part of what there is has been taken. References that were
  // given out end here.
  void grow_if_full() {
    if (n_kept_ > pairs_.size() / 2 && pairs_.size() < kMostPairs) grow();
  }

 private:
  const Pair& beside(const Pair* pair) const noexcept {
    return pairs_[static_cast<std::size_t>(pair - &pairs_[0]) ^ 1];
  }
  void add(Pair* pair, const Short& entry) noexcept {
    Pair& other = const_cast<Pair&>(beside(pair));
    (pair->is_full() && !other.is_full() ? other : *pair).add(entry);
    ++n_kept_;
  }

  void grow() {
    TableMemory<Pair> old_pairs(pairs_.size() * kGrowth);
    TableMemory<Long> old_longs(longs_.size() * kGrowth);
    old_pairs.swap(pairs_);
    old_longs.swap(longs_);
    n_kept_ = 0;
    for (const Pair& pair : old_pairs)
      for (const Short* entry : {&pair.ways[1], &pair.ways[0]})
        if (entry->key.high) add(&pair_at(hash_key(unmarked(entry->key))), *entry);
    for (const Long& entry : old_longs)
      if (entry.size) {
        long_at(hash_bytes(entry.bytes, entry.size)) = entry;
        n_kept_ += kPairsOfLong;
      }
  }

  static ChunkKey marked(const ChunkKey& key) noexcept { return {key.low, ~key.high}; }
  static ChunkKey unmarked(const ChunkKey& key) noexcept {
    return key.high >> 56 <= kShortChunk ? key : marked(key);
  }

  static constexpr std::size_t kFewestPairs = std::size_t{1} << 11, kPairsOfLong = 4, kGrowth = 8;
  static constexpr std::size_t kMostPairs = kFewestPairs * kGrowth * kGrowth;

  TableMemory<Pair> pairs_;
  TableMemory<Long> longs_;
  std::size_t n_kept_ = 0;
};

}  // namespace groundup::bpe
