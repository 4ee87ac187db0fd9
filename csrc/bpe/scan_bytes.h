// 64 bytes at once: bit i of every mask speaks of byte i.
//
// Included by scan.cpp alone, once per instruction set: everything is static.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "bpe/unicode.h"

namespace groundup::GROUNDUP_ISA {
namespace {

#if defined(__AVX512BW__)
struct Bytes {
  __m512i v;
};
inline Bytes load_bytes(const uint8_t* at) noexcept {
  Bytes bytes;
  memcpy(&bytes.v, at, 64);
  return bytes;
}
inline uint64_t equal(Bytes b, uint8_t to) noexcept {
  return _mm512_cmpeq_epi8_mask(b.v, _mm512_set1_epi8(static_cast<char>(to)));
}
// first <= byte < first + count
inline uint64_t within(Bytes b, uint8_t first, uint8_t count) noexcept {
  return _mm512_cmplt_epu8_mask(_mm512_sub_epi8(b.v, _mm512_set1_epi8(static_cast<char>(first))),
                                _mm512_set1_epi8(static_cast<char>(count)));
}
inline uint64_t high_bits(Bytes b) noexcept { return _mm512_movepi8_mask(b.v); }
inline Bytes with_bit(Bytes b, uint8_t bit) noexcept {
  return {_mm512_or_si512(b.v, _mm512_set1_epi8(static_cast<char>(bit)))};
}
#elif defined(__AVX2__)
struct Bytes {
  __m256i v[2];
};
inline Bytes load_bytes(const uint8_t* at) noexcept {
  Bytes bytes;
  memcpy(bytes.v, at, 64);
  return bytes;
}
inline uint64_t bits(__m256i low, __m256i high) noexcept {
  return static_cast<uint32_t>(_mm256_movemask_epi8(low)) |
         static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(high))) << 32;
}
inline uint64_t equal(Bytes b, uint8_t to) noexcept {
  const __m256i wanted = _mm256_set1_epi8(static_cast<char>(to));
  return bits(_mm256_cmpeq_epi8(b.v[0], wanted), _mm256_cmpeq_epi8(b.v[1], wanted));
}
inline uint64_t within(Bytes b, uint8_t first, uint8_t count) noexcept {
  const __m256i from = _mm256_set1_epi8(static_cast<char>(first));
  const __m256i most = _mm256_set1_epi8(static_cast<char>(count - 1));
  __m256i is[2];
  for (int half = 0; half < 2; ++half) {
    const __m256i distance = _mm256_sub_epi8(b.v[half], from);
    is[half] = _mm256_cmpeq_epi8(_mm256_min_epu8(distance, most), distance);
  }
  return bits(is[0], is[1]);
}
inline uint64_t high_bits(Bytes b) noexcept { return bits(b.v[0], b.v[1]); }
inline Bytes with_bit(Bytes b, uint8_t bit) noexcept {
  const __m256i wanted = _mm256_set1_epi8(static_cast<char>(bit));
  return {{_mm256_or_si256(b.v[0], wanted), _mm256_or_si256(b.v[1], wanted)}};
}
#elif defined(__x86_64__)
struct Bytes {
  __m128i v[4];
};
inline Bytes load_bytes(const uint8_t* at) noexcept {
  Bytes bytes;
  memcpy(bytes.v, at, 64);
  return bytes;
}
inline uint64_t bits(const __m128i* v) noexcept {
  uint64_t all = 0;
  for (int part = 0; part < 4; ++part)
    all |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(v[part]))) << 16 * part;
  return all;
}
inline uint64_t equal(Bytes b, uint8_t to) noexcept {
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(to));
  for (__m128i& part : b.v) part = _mm_cmpeq_epi8(part, wanted);
  return bits(b.v);
}
inline uint64_t within(Bytes b, uint8_t first, uint8_t count) noexcept {
  const __m128i from = _mm_set1_epi8(static_cast<char>(first));
  const __m128i most = _mm_set1_epi8(static_cast<char>(count - 1));
  for (__m128i& part : b.v) {
    const __m128i distance = _mm_sub_epi8(part, from);
    part = _mm_cmpeq_epi8(_mm_min_epu8(distance, most), distance);
  }
  return bits(b.v);
}
inline uint64_t high_bits(Bytes b) noexcept { return bits(b.v); }
inline Bytes with_bit(Bytes b, uint8_t bit) noexcept {
  for (__m128i& part : b.v) part = _mm_or_si128(part, _mm_set1_epi8(static_cast<char>(bit)));
  return b;
}
#else
struct Bytes {
  uint8_t v[64];
};
inline Bytes load_bytes(const uint8_t* at) noexcept {
  Bytes bytes;
  memcpy(bytes.v, at, 64);
  return bytes;
}
inline uint64_t within(const Bytes& b, uint8_t first, uint8_t count) noexcept {
  uint64_t all = 0;
  for (int i = 0; i < 64; ++i)
    all |= static_cast<uint64_t>(static_cast<uint8_t>(b.v[i] - first) < count) << i;
  return all;
}
inline uint64_t equal(const Bytes& b, uint8_t to) noexcept { return within(b, to, 1); }
inline uint64_t high_bits(const Bytes& b) noexcept { return within(b, 0x80, 0x80); }
inline Bytes with_bit(Bytes b, uint8_t bit) noexcept {
  for (uint8_t& byte : b.v) byte |= bit;
  return b;
}
#endif

// Which bytes, as last ones of a Devanagari character, make a letter or a mark of it, for the two
// halves of U+0900 to U+097F (second byte 0xA4 or 0xA5).
struct Devanagari {
  uint64_t letters[2], marks[2];
};

#if defined(__AVX512BW__)
#define GROUNDUP_KNOWS_DEVANAGARI 1
inline Devanagari devanagari(Bytes b) noexcept {
  const auto table = [](const uint8_t* sixteen) {
    __m128i row;
    memcpy(&row, sixteen, 16);
    return _mm512_maskz_broadcast_i32x4(0xFFFF, row);
  };
  const __m512i column = _mm512_and_si512(b.v, _mm512_set1_epi8(15));
  const __m512i row = _mm512_and_si512(_mm512_srli_epi16(b.v, 4), _mm512_set1_epi8(3));
  const __m512i first = _mm512_shuffle_epi8(_mm512_set1_epi32(0x08040201), row);
  const __m512i second = _mm512_slli_epi16(first, 4);
  const __m512i letters = _mm512_shuffle_epi8(table(bpe::kDevanagariLetters), column);
  const __m512i marks = _mm512_shuffle_epi8(table(bpe::kDevanagariMarks), column);
  return {{_mm512_test_epi8_mask(letters, first), _mm512_test_epi8_mask(letters, second)},
          {_mm512_test_epi8_mask(marks, first), _mm512_test_epi8_mask(marks, second)}};
}
#elif defined(__AVX2__)
#define GROUNDUP_KNOWS_DEVANAGARI 1
inline Devanagari devanagari(Bytes b) noexcept {
  const auto table = [](const uint8_t* sixteen) {
    __m128i row;
    memcpy(&row, sixteen, 16);
    return _mm256_broadcastsi128_si256(row);
  };
  __m256i is[2][2][2];  // letter or mark, half of the block, half of the bytes
  for (int half = 0; half < 2; ++half) {
    const __m256i column = _mm256_and_si256(b.v[half], _mm256_set1_epi8(15));
    const __m256i row = _mm256_and_si256(_mm256_srli_epi16(b.v[half], 4), _mm256_set1_epi8(3));
    const __m256i first = _mm256_shuffle_epi8(_mm256_set1_epi32(0x08040201), row);
    const __m256i second = _mm256_slli_epi16(first, 4);
    const __m256i letters = _mm256_shuffle_epi8(table(bpe::kDevanagariLetters), column);
    const __m256i marks = _mm256_shuffle_epi8(table(bpe::kDevanagariMarks), column);
    is[0][0][half] = _mm256_cmpeq_epi8(_mm256_and_si256(letters, first), first);
    is[0][1][half] = _mm256_cmpeq_epi8(_mm256_and_si256(letters, second), second);
    is[1][0][half] = _mm256_cmpeq_epi8(_mm256_and_si256(marks, first), first);
    is[1][1][half] = _mm256_cmpeq_epi8(_mm256_and_si256(marks, second), second);
  }
  return {{bits(is[0][0][0], is[0][0][1]), bits(is[0][1][0], is[0][1][1])},
          {bits(is[1][0][0], is[1][0][1]), bits(is[1][1][0], is[1][1][1])}};
}
#endif

constexpr int kClasses = 15;

// The classes of what is not ASCII: of[c] has the bytes of the characters of class c. `high` are
// the bytes from 0x80 on; of those that `known` leaves out some may be missing.
struct WideClasses {
  uint64_t of[kClasses] = {};

  void fill(const uint8_t* at, const Bytes& b, uint64_t high, uint64_t known) noexcept {
    uint64_t leads = high & ~within(b, 0x80, 0x40) & known;
#if defined(GROUNDUP_KNOWS_DEVANAGARI)
    const uint64_t three = equal(b, 0xE0);
    const uint64_t half[2] = {(three & equal(b, 0xA4) >> 1) << 2, (three & equal(b, 0xA5) >> 1)
                                                                      << 2};
    if (const uint64_t last = half[0] | half[1]) {
      const Devanagari is = devanagari(b);
      const uint64_t letters = (is.letters[0] & half[0]) | (is.letters[1] & half[1]);
      const uint64_t marks = (is.marks[0] & half[0]) | (is.marks[1] & half[1]);
      const uint64_t decimals = half[1] & within(b, 0xA6, 10);
      const auto whole = [](uint64_t ends) { return ends | ends >> 1 | ends >> 2; };
      of[2] = whole(letters);
      of[3] = whole(marks);
      of[4] = whole(decimals);
      of[14] = whole(last & ~(letters | marks | decimals));
      leads &= ~(last >> 2);
    }
#endif
    for (; leads; leads &= leads - 1) {
      const int i = __builtin_ctzll(leads);
      const uint64_t bytes = (uint64_t{1} << bpe::wide_size(at[i])) - 1;
      of[bpe::wide_class(bpe::wide_code_point(at + i))] |= bytes << i;
    }
  }
};

// Writes first + i for each bit i of a mask, into room for 64.
#if defined(__AVX512BW__)
inline void write_places(uint64_t mask, size_t first, size_t* out) noexcept {
  const __m512i iota = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  __m512i places = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(first)), iota);
  for (int byte = 0; byte < 8; ++byte, mask >>= 8) {  // no branch: the next store overwrites
    const auto eight = static_cast<__mmask8>(mask);
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi64(eight, places));
    out += __builtin_popcount(eight);
    places = _mm512_add_epi64(places, _mm512_set1_epi64(8));
  }
}
#else
inline void write_places(uint64_t mask, size_t first, size_t* out) noexcept {
  const size_t count = static_cast<size_t>(__builtin_popcountll(mask));
  for (size_t written = 0; written < count; written += 16)  // 16 at once: a branch less
    for (int k = 0; k < 16; ++k, mask &= mask - 1)
      out[written + k] = first + (mask ? __builtin_ctzll(mask) : 64);
}
#endif

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
