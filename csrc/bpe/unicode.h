// UTF-8 and the classes of characters that the patterns speak of.
#pragma once

#include <cstddef>
#include <cstdint>

namespace groundup::bpe {

// One bit a class, so that a set of classes is a mask. Every code point has exactly one. The order
// is that of tools/unicode_tables.py.
enum Kind : std::uint16_t {
  kUpper = 1,         // Lu Lt
  kLower = 2,         // Ll
  kOtherLetter = 4,   // Lm Lo, but for those of the scripts
  kMark = 8,          // M
  kDecimal = 16,      // Nd
  kOtherNumber = 32,  // Nl No, but for those of the scripts
  kSpace = 64,        // \s but \r \n
  kNewline = 128,     // \r \n
  kCurrency = 256,    // Sc
  kOperator = 512,    // Sm and * / ^ -, but for those of the scripts
  kJoiner = 1024,     // U+200C U+200D
  // Superscripts and subscripts: U+2070 to U+209C, and three of Latin-1.
  kScriptLetter = 2048,
  kScriptNumber = 4096,
  kScriptSign = 8192,
  kOtherSign = 16384  // everything else
};
constexpr std::uint16_t kLetter = kUpper | kLower | kOtherLetter | kScriptLetter;
constexpr std::uint16_t kNumber = kDecimal | kOtherNumber | kScriptNumber;
constexpr std::uint16_t kWhite = kSpace | kNewline;
constexpr std::uint16_t kSymbol =  // [^\s\p{L}\p{N}]
    kMark | kCurrency | kOperator | kJoiner | kScriptSign | kOtherSign;

extern const std::uint32_t kUnicodeBlocks;    // of 64 code points
extern const std::uint16_t kUnicodeIndex[];   // the classes of block b stand from
extern const std::uint8_t kUnicodeClasses[];  // kUnicodeIndex[b] * 64 on; the first two are ASCII
extern const std::uint8_t kDevanagariLetters[16];
extern const std::uint8_t kDevanagariMarks[16];

// What follows is static: scan.cpp, which is compiled for several instruction sets, has its own.

struct Char {
  std::uint16_t kind;
  std::uint8_t size;  // bytes
};

// The code point of a character of two bytes or more.
static inline std::uint32_t wide_code_point(const std::uint8_t* at) noexcept {
  if (*at < 0xE0) return (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu);
  if (*at < 0xF0) return (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
  return (at[0] & 0x07u) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu);
}

// The number of a class: kinds are 1 << it.
static inline unsigned wide_class(std::uint32_t point) noexcept {
  const std::uint32_t block = point / 64;
  return block < kUnicodeBlocks ? kUnicodeClasses[kUnicodeIndex[block] * 64u + point % 64] : 14;
}

static inline unsigned wide_size(std::uint8_t first) noexcept {
  return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

// The character whose first byte is *at. The text is valid UTF-8: no bound is checked.
static inline Char char_at(const std::uint8_t* at) noexcept {
  if (*at < 0x80) return {static_cast<std::uint16_t>(1u << kUnicodeClasses[*at]), 1};
  return {static_cast<std::uint16_t>(1u << wide_class(wide_code_point(at))),
          static_cast<std::uint8_t>(wide_size(*at))};
}

// The start of the character that ends just before `end`.
static inline const std::uint8_t* last_char(const std::uint8_t* end) noexcept {
  do --end;
  while ((*end & 0xC0) == 0x80);
  return end;
}

// The offset of the first byte that is not part of valid UTF-8 (RFC 3629: no surrogates, no
// overlong forms, nothing above U+10FFFF), or n.
std::size_t find_invalid_utf8(const std::uint8_t* text, std::size_t n) noexcept;

}  // namespace groundup::bpe
