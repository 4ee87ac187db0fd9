// Chunks that were encoded before and their ids. Bounded: a new chunk takes an old one's place.
//
// Short chunks, nearly all of most texts, take 32 bytes with up to four ids; the two that a hash
// can stand at share a cache line. What is longer or has more ids takes a line of its own. Memory
// is zeroed by the system where it is first touched, so an encoder of little text holds little.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "bpe/chunk_key.h"
#include "bpe/token_table.h"
#include "pages.h"

namespace groundup::bpe {

constexpr std::uint32_t kIdBits = 29;
static_assert(kMostTokens <= std::size_t{1} << kIdBits, "an id leaves room for a number above it");

// Ids as an entry keeps them: their number stands above the first.
template <std::size_t kMost>
struct CachedIds {
  static_assert(kMost < std::size_t{1} << (32 - kIdBits), "the number fits above an id");
  std::uint32_t ids[kMost];

  // Writes all places to `out`: one store, and what is no id is overwritten by the next chunk.
  std::uint32_t* copy_to(std::uint32_t* out) const noexcept {
    const std::uint32_t first = ids[0];
    std::memcpy(out, ids, sizeof ids);
    out[0] = first & ((1u << kIdBits) - 1);
    return out + (first >> kIdBits);
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
  struct Pair {
    Short ways[2];
    const Short& way_of(const ChunkKey& key) const noexcept {
      return ways[ways[0].key == key ? 0 : 1];
    }
    // That the chunk's ids are too many for here, and stand among the long ones.
    bool says_long(const ChunkKey& key) const noexcept {
      const ChunkKey marked{key.low, ~key.high};
      return ways[0].key == marked || ways[1].key == marked;
    }
    void say_long(const ChunkKey& key) noexcept {
      ways[1] = ways[0];
      ways[0].key = {key.low, ~key.high};
    }
    void add(const ChunkKey& key, const std::uint32_t* begin, const std::uint32_t* end) noexcept {
      ways[1] = ways[0];  // the older of the two goes
      ways[0].key = key;
      ways[0].ids.keep(begin, end);
    }
  };
  struct Long {
    std::uint8_t bytes[kLongChunk];
    std::uint8_t size;
    CachedIds<kLongIds> ids;

    bool holds(const std::uint8_t* chunk, std::size_t n) const noexcept {
      return size == n && std::memcmp(bytes, chunk, n) == 0;
    }
    void set(const std::uint8_t* chunk, std::size_t n, const std::uint32_t* begin,
             const std::uint32_t* end) noexcept {
      std::memcpy(bytes, chunk, n);
      size = static_cast<std::uint8_t>(n);
      ids.keep(begin, end);
    }
  };
  static_assert(sizeof(Pair) == kLine && sizeof(Long) == kLine, "one line each");

  ChunkCache() : memory_(std::calloc(kBytes + kLine, 1)) {
    if (!memory_) throw std::bad_alloc();
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
    auto* const begin = static_cast<char*>(memory_.get()) + (kLine - address % kLine);
    advise_huge_pages(begin, kBytes);
    pairs_ = reinterpret_cast<Pair*>(begin);
    longs_ = reinterpret_cast<Long*>(begin + kPairs * kLine);
  }

  Pair& pair_at(std::uint64_t hash) noexcept { return pairs_[hash & (kPairs - 1)]; }
  Long& long_at(std::uint64_t hash) noexcept { return longs_[hash & (kLongs - 1)]; }

 private:
  struct Free {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };
  static constexpr std::size_t kPairs = std::size_t{1} << 17, kLongs = std::size_t{1} << 15;
  static constexpr std::size_t kBytes = (kPairs + kLongs) * kLine;

  std::unique_ptr<void, Free> memory_;
  Pair* pairs_;
  Long* longs_;
};

}  // namespace groundup::bpe
