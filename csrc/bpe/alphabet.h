// Code points as what is merged at first: which there are in a corpus, and their ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "bpe/count.h"
#include "bpe/unicode.h"

namespace groundup::bpe {

constexpr std::uint32_t kMaxCodePoint = 0x10FFFF;

// Each code point of the chunks and how often it occurs, in rising order. Bytes that are no UTF-8
// are none. Throws std::overflow_error past 2^64 - 1.
std::vector<std::pair<std::uint32_t, std::uint64_t>> count_code_points(const ChunkList& chunks);

// Calls visit(at, size) for the characters of chunk[0, n) in order; what is no UTF-8 comes byte by
// byte, with size 0.
template <class Visit>
void for_each_character(const std::uint8_t* chunk, std::size_t n, Visit&& visit) {
  for (std::size_t at = 0; at < n;) {
    const std::size_t valid = at + find_invalid_utf8(chunk + at, n - at);
    while (at < valid) {
      const std::size_t size = chunk[at] < 0x80 ? 1 : wide_size(chunk[at]);
      visit(at, size);
      at += size;
    }
    if (at < n) visit(at++, std::size_t{0});
  }
}

// The ids of characters before any merge: ASCII's are its bytes, the alphabet's follow those of all
// bytes, and others have none of their own.
class Alphabet {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;
  // Distinct code points beyond ASCII, in the order of their ids.
  explicit Alphabet(const std::vector<std::uint32_t>& code_points);

  // Of the valid character at `at`.
  std::uint32_t id_at(const std::uint8_t* at) const noexcept {
    if (*at < 0x80) return *at;
    const std::uint32_t point = wide_code_point(at);
    return point < ids_.size() ? ids_[point] : kNone;
  }

 private:
  std::vector<std::uint32_t> ids_;  // by code point
};

}  // namespace groundup::bpe
