#include "bpe/unicode.h"

#include <cstring>

namespace groundup::bpe {
#include "bpe/unicode_tables.inc"

std::uint8_t kind_in_block(std::uint32_t block, std::uint32_t low) noexcept {
  return block < kUnicodeBlocks ? kUnicodeKinds[kUnicodeIndex[block] * 64u + low]
                                : static_cast<std::uint8_t>(kOtherSymbol);
}

Char wide_char_at(const std::uint8_t* at) noexcept {
  const std::uint32_t first = at[0];
  if (first < 0xE0) return {kind_in_block(first & 0x1F, at[1] & 0x3F), 2};
  if (first < 0xF0) return {kind_in_block((first & 0x0F) << 6 | (at[1] & 0x3F), at[2] & 0x3F), 3};
  return {kind_in_block((first & 0x07) << 12 | (at[1] & 0x3F) << 6 | (at[2] & 0x3F), at[3] & 0x3F),
          4};
}

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
    if (at >= n) break;
    const std::uint8_t first = text[at];
    if (first < 0x80) {
      at += 1;
    } else if (first >= 0xC2 && first < 0xE0) {
      if (!follows(at + 1)) return at;
      at += 2;
    } else if (first >= 0xE0 && first < 0xF0) {
      if (!follows(at + 1) || !follows(at + 2)) return at;
      if ((first == 0xE0 && text[at + 1] < 0xA0) || (first == 0xED && text[at + 1] >= 0xA0))
        return at;
      at += 3;
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
