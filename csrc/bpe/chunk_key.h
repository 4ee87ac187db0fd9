// Chunks as keys: up to 15 bytes packed into two words, the length in the last byte.
//
// Nearly every chunk of real text fits, so that comparing and storing one is two words' work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace groundup::bpe {

constexpr std::size_t kShortChunk = 15;

struct ChunkKey {
  std::uint64_t low;
  std::uint64_t high;
  // 0 where they are equal.
  std::uint64_t differs(const ChunkKey& other) const noexcept {
    return (low ^ other.low) | (high ^ other.high);
  }
  bool operator==(const ChunkKey& other) const noexcept { return differs(other) == 0; }
};

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// What of sixteen bytes is the key of a chunk of n: a table and no branch, for a chunk's length
// cannot be foretold.
struct KeyMasks {
  ChunkKey of[kShortChunk + 1];
  constexpr KeyMasks() : of() {
    for (std::size_t n = 0; n <= kShortChunk; ++n) {
      of[n].low = n < 8 ? (std::uint64_t{1} << (8 * n)) - 1 : ~std::uint64_t{0};
      of[n].high = n > 8 ? (std::uint64_t{1} << (8 * (n - 8))) - 1 : 0;
    }
  }
};
constexpr KeyMasks kKeyMasks;

// The key of chunk[0, n), 1 <= n <= 15. `readable` bytes may be read from chunk on.
inline ChunkKey short_key(const std::uint8_t* chunk, std::size_t n, std::size_t readable) noexcept {
  ChunkKey key{0, 0};
  if (__builtin_expect(readable >= 16, 1)) {
    std::memcpy(&key.low, chunk, 8);
    std::memcpy(&key.high, chunk + 8, 8);
    key.low &= kKeyMasks.of[n].low;
    key.high &= kKeyMasks.of[n].high;
  } else {
    std::memcpy(&key, chunk, n);
  }
  key.high |= static_cast<std::uint64_t>(n) << 56;
  return key;
}

inline std::uint64_t hash_key(const ChunkKey& key) noexcept {
  return mix(key.low ^ 0x9E3779B97F4A7C15u, key.high ^ 0xD1B54A32D192ED03u);
}

inline std::uint64_t hash_bytes(const std::uint8_t* bytes, std::size_t n) noexcept {
  std::uint64_t hash = mix(n ^ 0x9E3779B97F4A7C15u, 0xD1B54A32D192ED03u);
  for (; n >= 8; bytes += 8, n -= 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes, 8);
    hash = mix(hash ^ word, 0xA0761D6478BD642Fu);
  }
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, n);
  return mix(hash ^ word, 0xE7037ED1A0B428DBu);
}

// The keys of the chunks of text[at, n) that end at ends[0, found), found <= kKeyBatch, and their
// hashes: worked out ahead, so that `fetch(hash)` can ask for the memory that each will need. A
// chunk that is too long for a key has an empty one.
constexpr std::size_t kKeyBatch = 512;

struct KeyBatch {
  ChunkKey keys[kKeyBatch];
  std::uint64_t hashes[kKeyBatch];

  template <class Fetch>
  void fill(const std::uint8_t* text, std::size_t at, std::size_t n, const std::size_t* ends,
            std::size_t found, Fetch&& fetch) noexcept {
    for (std::size_t i = 0; i < found; at = ends[i++]) {
      if (ends[i] - at > kShortChunk) {
        keys[i] = {0, 0};
        continue;
      }
      keys[i] = short_key(text + at, ends[i] - at, n - at);
      hashes[i] = hash_key(keys[i]);
      fetch(hashes[i]);
    }
  }
};

}  // namespace groundup::bpe
