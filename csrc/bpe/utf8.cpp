// A vector of places at a time, each taken as if a character began there: with its own byte and the
// two after it, the character follows without knowing where the one before it ended. Those of the
// places that continue a character are then left out, and the others move together.
#include "bpe/utf8.h"

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace groundup::GROUNDUP_ISA {

#if defined(__AVX2__)
namespace {

// What a vector of places was found to be: bit i of every mask speaks of place i.
struct Places {
  uint32_t continues, leads_two, leads_three;  // leads of two and of three bytes
  uint32_t wrong;  // beyond three bytes, longer than need be, or half of a surrogate pair
};

#if defined(__AVX512BW__)

constexpr size_t kPlaces = 16;
constexpr __mmask16 kAll = 0xFFFF;  // the forms without a mask make gcc 12 warn of its own headers
using Largest = __m512i;
inline Largest nothing() noexcept { return _mm512_setzero_si512(); }

inline __m512i widened(const uint8_t* at) noexcept {
  return _mm512_maskz_cvtepu8_epi32(kAll, _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}
inline __m512i low_bits(__m512i byte, int mask) noexcept {
  return _mm512_and_si512(byte, _mm512_set1_epi32(mask));
}

// Writes those of the first `n` places that begin a character, at most 16 values, from `out` on.
inline Places convert(const uint8_t* at, uint32_t n, uint16_t* out, Largest* largest) noexcept {
  const __m512i first = widened(at), second = low_bits(widened(at + 1), 63),
                third = low_bits(widened(at + 2), 63);
  const __mmask16 asked = static_cast<__mmask16>((1u << n) - 1);
  const __mmask16 three = _mm512_mask_cmpge_epu32_mask(asked, first, _mm512_set1_epi32(0xE0));
  const __mmask16 many = _mm512_mask_cmpge_epu32_mask(asked, first, _mm512_set1_epi32(0xC0));
  const __mmask16 two = many & ~three;
  const __mmask16 continues =
      _mm512_mask_cmpge_epu32_mask(asked & ~many, first, _mm512_set1_epi32(0x80));
  const __m512i of_two =
      _mm512_or_si512(_mm512_maskz_slli_epi32(kAll, low_bits(first, 31), 6), second);
  const __m512i of_three =
      _mm512_or_si512(_mm512_maskz_slli_epi32(kAll, first, 12),
                      _mm512_or_si512(_mm512_maskz_slli_epi32(kAll, second, 6), third));
  __m512i all = _mm512_mask_mov_epi32(first, two, of_two);
  all = _mm512_mask_mov_epi32(all, three, low_bits(of_three, 0xFFFF));
  const __mmask16 wrong =
      _mm512_mask_cmpge_epu32_mask(three, first, _mm512_set1_epi32(0xF0)) |
      _mm512_mask_cmplt_epu32_mask(two, all, _mm512_set1_epi32(0x80)) |
      _mm512_mask_cmplt_epu32_mask(three, all, _mm512_set1_epi32(0x800)) |
      _mm512_mask_cmpeq_epi32_mask(three, low_bits(all, 0xF800), _mm512_set1_epi32(0xD800));
  const __mmask16 begins = asked & ~continues;
  *largest = _mm512_mask_max_epu32(*largest, begins, *largest, all);
  const __m256i together =
      _mm512_maskz_cvtepi32_epi16(kAll, _mm512_maskz_compress_epi32(begins, all));
  const auto stored = static_cast<__mmask16>((1u << __builtin_popcount(begins)) - 1);
  _mm256_mask_storeu_epi16(out, stored, together);
  return {continues, two, three, wrong};
}

#else

constexpr size_t kPlaces = 8;
using Largest = __m256i;
inline Largest nothing() noexcept { return _mm256_setzero_si256(); }
// of[mask]: the places of the bits that are set, in order.
struct SetBits {
  uint8_t of[256][8];
  constexpr SetBits() : of() {
    for (int mask = 0; mask < 256; ++mask)
      for (int bit = 0, n = 0; bit < 8; ++bit)
        if (mask >> bit & 1) of[mask][n++] = static_cast<uint8_t>(bit);
  }
};
constexpr SetBits kSetBits;

inline __m256i widened(const uint8_t* at) noexcept {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
}
inline __m256i low_bits(__m256i byte, int mask) noexcept {
  return _mm256_and_si256(byte, _mm256_set1_epi32(mask));
}
inline __m256i above(__m256i values, int least) noexcept {  // at or above
  return _mm256_cmpgt_epi32(values, _mm256_set1_epi32(least - 1));
}
inline uint32_t bits(__m256i lanes) noexcept {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(lanes)));
}

// Writes those of the first `n` places that begin a character, at most 8 values, from `out` on.
inline Places convert(const uint8_t* at, uint32_t n, uint16_t* out, Largest* largest) noexcept {
  const __m256i first = widened(at), second = low_bits(widened(at + 1), 63),
                third = low_bits(widened(at + 2), 63);
  const uint32_t asked = (1u << n) - 1;
  const __m256i three = above(first, 0xE0), many = above(first, 0xC0);
  const __m256i two = _mm256_andnot_si256(three, many);
  const uint32_t continues = bits(_mm256_andnot_si256(many, above(first, 0x80))) & asked;
  const __m256i of_two = _mm256_or_si256(_mm256_slli_epi32(low_bits(first, 31), 6), second);
  const __m256i of_three =
      low_bits(_mm256_or_si256(_mm256_slli_epi32(first, 12),
                               _mm256_or_si256(_mm256_slli_epi32(second, 6), third)),
               0xFFFF);
  const __m256i all = _mm256_blendv_epi8(_mm256_blendv_epi8(first, of_two, two), of_three, three);
  const __m256i halves = _mm256_cmpeq_epi32(low_bits(all, 0xF800), _mm256_set1_epi32(0xD800));
  const uint32_t wrong =
      (bits(above(first, 0xF0)) | bits(_mm256_andnot_si256(above(all, 0x80), two)) |
       bits(_mm256_andnot_si256(above(all, 0x800), three)) |
       bits(_mm256_and_si256(three, halves))) &
      asked;
  const uint32_t begins = asked & ~continues;
  const __m256i order =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kSetBits.of[begins])));
  const __m256i together = _mm256_permutevar8x32_epi32(all, order);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(together, together), 0x08);
  uint16_t written[8];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(written), _mm256_castsi256_si128(packed));
  const auto count = static_cast<size_t>(__builtin_popcount(begins));
  if (n == kPlaces) {
    memcpy(out, written, sizeof written);
    // What follows the last repeats the first place, which counts too or is one byte.
    *largest = _mm256_max_epu32(*largest, together);
  } else {
    memcpy(out, written, count * sizeof *written);
    for (size_t i = 0; i < count; ++i)
      *largest = _mm256_max_epu32(*largest, _mm256_set1_epi32(written[i]));
  }
  return {continues, bits(two) & asked, bits(three) & asked, wrong};
}

#endif

inline bool all_ascii(const uint8_t* at) noexcept {
  uint64_t words[kPlaces / 8], all = 0;
  memcpy(words, at, sizeof words);
  for (const uint64_t word : words) all |= word;
  return !(all & 0x8080808080808080u);
}

inline void copy_ascii(const uint8_t* at, uint16_t* out) noexcept {
  for (size_t i = 0; i < kPlaces; ++i) out[i] = at[i];
}

inline uint32_t value(Largest all) noexcept {
  uint32_t values[kPlaces], most = 0;
  memcpy(values, &all, sizeof values);
  for (const uint32_t each : values) most = each > most ? each : most;
  return most;
}

}  // namespace

size_t utf8_to_wide(const uint8_t* bytes, size_t n, uint16_t* out) noexcept {
  uint16_t* const begin = out;
  Largest largest = nothing();
  uint32_t due = 0;  // the places, from the next on, that have to continue a character
  const auto take = [&](const uint8_t* from, uint32_t asked) {
    const Places found = convert(from, asked, out, &largest);
    due |= (found.leads_two | found.leads_three) << 1 | found.leads_three << 2;
    const uint32_t known = (1u << asked) - 1;
    const bool valid = !(found.wrong | ((due & known) ^ found.continues));
    due >>= asked;
    out += asked - static_cast<uint32_t>(__builtin_popcount(found.continues));
    return valid;
  };
  constexpr size_t kBeyond = 2;  // bytes that are read after the places
  size_t at = 0;
  for (; n - at >= kPlaces + kBeyond; at += kPlaces)
    if (all_ascii(bytes + at) && !due) {
      copy_ascii(bytes + at, out);
      out += kPlaces;
    } else if (!take(bytes + at, kPlaces)) {
      return kNotWide;
    }
  uint8_t rest[2 * kPlaces + kBeyond] = {};
  memcpy(rest, bytes + at, n - at);
  for (const uint8_t* from = rest; at < n; from += kPlaces, at += kPlaces)
    if (!take(from, static_cast<uint32_t>(n - at < kPlaces ? n - at : kPlaces))) return kNotWide;
  if (due || value(largest) < 0x100) return kNotWide;
  return static_cast<size_t>(out - begin);
}

#else

size_t utf8_to_wide(const uint8_t*, size_t, uint16_t*) noexcept { return kNotWide; }

#endif

}  // namespace groundup::GROUNDUP_ISA
