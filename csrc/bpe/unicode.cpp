#include "bpe/unicode.h"

#include <cstring>

namespace groundup::bpe {
#include "bpe/unicode_tables.inc"

namespace {

// Whether the three bytes at `at` are a character.
bool is_three_bytes(const std::uint8_t* at) noexcept {
  const std::uint32_t bytes = at[0] | at[1] << 8 | at[2] << 16;
  const std::uint32_t edge = bytes & 0x20FF;  // the first, and whether the second is A0 or more
  return (bytes & 0xC0C0F0) == 0x8080E0 && edge != 0x00E0 && edge != 0x20ED;
}

}  // namespace

std::size_t find_invalid_utf8(const std::uint8_t* text, std::size_t n) noexcept {
  const auto follows = [&](std::size_t at) { return at < n && (text[at] & 0xC0) == 0x80; };
  std::size_t at = 0;
  while (at < n) {
    std::uint64_t eight;
    while (at + 8 <= n) {
      std::memcpy(&eight, text + at, 8);
      if (eight & 0x8080808080808080u) break;
      at += 8;
    }
    // Most scripts beyond Latin come as runs of these.
    while (at + 3 <= n && is_three_bytes(text + at)) at += 3;
    if (at >= n) break;
    const std::uint8_t first = text[at];
    if (first < 0x80) {
      at += 1;
    } else if (first >= 0xC2 && first < 0xE0) {
      if (!follows(at + 1)) return at;
      at += 2;
    } else if (first >= 0xE0 && first < 0xF0) {
      return at;  // else it was one of the run
    } else if (first >= 0xF0 && first < 0xF5) {
      if (!follows(at + 1) || !follows(at + 2) || !follows(at + 3)) return at;
      if ((first == 0xF0 && text[at + 1] < 0x90) || (first == 0xF4 && text[at + 1] >= 0x90))
        return at;
      at += 4;
    } else {
      return at;
    }
  }
  return n;
}

}  // namespace groundup::bpe
