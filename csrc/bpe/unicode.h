// UTF-8 and the classes of characters that the patterns speak of.
#pragma once

#include <cstddef>
#include <cstdint>

namespace groundup::bpe {

// One bit a class, so that a set of classes is a mask. Every code point has exactly one.
enum Kind : std::uint8_t {
  kUpper = 1,         // Lu Lt
  kLower = 2,         // Ll
  kOtherLetter = 4,   // Lm Lo
  kMark = 8,          // M
  kNumber = 16,       // N
  kSpace = 32,        // \s but \r \n
  kNewline = 64,      // \r \n
  kOtherSymbol = 128  // everything else
};
constexpr std::uint8_t kLetter = kUpper | kLower | kOtherLetter;
constexpr std::uint8_t kWhite = kSpace | kNewline;
constexpr std::uint8_t kSymbol = kMark | kOtherSymbol;  // [^\s\p{L}\p{N}]

extern const std::uint8_t kAsciiKinds[128];

struct Char {
  std::uint8_t kind;
  std::uint8_t size;  // bytes
};

Char wide_char_at(const std::uint8_t* at) noexcept;

// The character whose first byte is *at. The text is valid UTF-8: no bound is checked.
inline Char char_at(const std::uint8_t* at) noexcept {
  if (*at < 0x80) return {kAsciiKinds[*at], 1};
  return wide_char_at(at);
}

// The code point of a character of two bytes or more.
inline std::uint32_t wide_code_point(const std::uint8_t* at) noexcept {
  if (*at < 0xE0) return (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu);
  if (*at < 0xF0) return (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
  return (at[0] & 0x07u) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu);
}

bool is_decimal(std::uint32_t point) noexcept;    // Nd, of the code points beyond ASCII
bool is_math_sign(std::uint32_t point) noexcept;  // Sm, likewise

// The start of the character that ends just before `end`.
inline const std::uint8_t* last_char(const std::uint8_t* end) noexcept {
  do --end;
  while ((*end & 0xC0) == 0x80);
  return end;
}

// The offset of the first byte that is not part of valid UTF-8 (RFC 3629: no surrogates, no
// overlong forms, nothing above U+10FFFF), or n.
std::size_t find_invalid_utf8(const std::uint8_t* text, std::size_t n) noexcept;

}  // namespace groundup::bpe
