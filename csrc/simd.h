// Vectors of floats through the compiler's vector extensions: one source for every instruction set.
//
// The width follows the set the file is compiled for: 16 bytes for the baseline (SSE2, NEON), 32
// for AVX2, 64 for AVX-512. Intrinsics stand only where the extensions cannot say it. Everything
// is static: each object keeps its own copy, none leaks into code for another instruction set.
#pragma once

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace groundup::GROUNDUP_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kVectorBytes = 4 * kLanes;

typedef float vfloat __attribute__((vector_size(kVectorBytes)));
typedef int32_t vint __attribute__((vector_size(kVectorBytes)));
typedef uint32_t vuint __attribute__((vector_size(kVectorBytes)));
typedef uint16_t vhalf __attribute__((vector_size(kVectorBytes / 2)));

struct bfloat16 {
  uint16_t bits;
};

#define GROUNDUP_INLINE static inline __attribute__((always_inline))

// How many lanes a load or store touches: all of them, or the first `n` (0 < n < kLanes).
struct Full {};
struct First {
  int n;
};

GROUNDUP_INLINE vfloat splat(float x) { return x - vfloat{}; }
GROUNDUP_INLINE vfloat select(vint condition, vfloat yes, vfloat no) {
  return condition ? yes : no;
}

// b where either is NaN.
GROUNDUP_INLINE vfloat max(vfloat a, vfloat b) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_mask_max_ps((__m512)b, 0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
  return (vfloat)_mm_max_ps((__m128)a, (__m128)b);
#else
  return select(a > b, a, b);
#endif
}

// x as it is rounded now: the compiler may not fuse the product it came from into a later sum, so
// that the same expression gives the same number wherever it stands.
GROUNDUP_INLINE vfloat rounded(vfloat x) {
#if defined(__x86_64__)
  asm("" : "+v"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#endif
  return x;
}

GROUNDUP_INLINE vfloat sqrt(vfloat x) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_mask_sqrt_ps((__m512)x, 0xffff, (__m512)x);
#elif defined(__AVX2__)
  return (vfloat)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
  return (vfloat)_mm_sqrt_ps((__m128)x);
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

GROUNDUP_INLINE vfloat abs(vfloat x) { return (vfloat)((vuint)x & 0x7fffffffu); }

// -- memory. No alignment is needed; nothing outside the lanes named is touched. Sanitizers cannot
// look into intrinsics: for them GROUNDUP_PLAIN_MEMORY is set, and the same bytes are touched in
// C++ (cmake/sanitize.cmake).

GROUNDUP_INLINE vfloat load(const float* p, Full) {
  vfloat x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

GROUNDUP_INLINE vfloat load(const float* p, First lanes, vfloat rest = vfloat{}) {
#if defined(__AVX512F__) && !defined(GROUNDUP_PLAIN_MEMORY)
  return (vfloat)_mm512_mask_loadu_ps((__m512)rest, (__mmask16)((1u << lanes.n) - 1), p);
#else
  for (int i = 0; i < lanes.n; ++i) rest[i] = p[i];
  return rest;
#endif
}
GROUNDUP_INLINE vfloat load(const float* p, Full lanes, vfloat) { return load(p, lanes); }

GROUNDUP_INLINE void store(float* p, vfloat x, Full) { __builtin_memcpy(p, &x, sizeof x); }

GROUNDUP_INLINE void store(float* p, vfloat x, First lanes) {
#if defined(__AVX512F__) && !defined(GROUNDUP_PLAIN_MEMORY)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << lanes.n) - 1), (__m512)x);
#else
  for (int i = 0; i < lanes.n; ++i) p[i] = x[i];
#endif
}

// -- bfloat16: the upper half of a float. Narrowing rounds to nearest even and keeps NaN a NaN.

GROUNDUP_INLINE vfloat widen(vhalf x) {
#if defined(__AVX512F__)
  const vuint bits = (vuint)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)x);
#elif defined(__AVX2__)
  const vuint bits = (vuint)_mm256_cvtepu16_epi32((__m128i)x);
#else
  const vuint bits = __builtin_convertvector(x, vuint);
#endif
  return (vfloat)(bits << 16);
}

GROUNDUP_INLINE vhalf narrow(vfloat x) {
  const vuint bits = (vuint)x;
  const vuint nearest = bits + (((bits >> 16) & 1u) + 0x7fffu);
  const vfloat safe = select(x == x, (vfloat)nearest, splat(__builtin_nanf("")));
  const vuint upper = (vuint)safe >> 16;
#if defined(__AVX512F__)
  return (vhalf)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)upper);
#elif defined(__AVX2__)
  const __m256i packed = _mm256_packus_epi32((__m256i)upper, (__m256i)upper);
  return (vhalf)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x88));
#else
  return __builtin_convertvector(upper, vhalf);
#endif
}

GROUNDUP_INLINE vfloat load(const bfloat16* p, Full) {
  vhalf x;
  __builtin_memcpy(&x, p, sizeof x);
  return widen(x);
}
GROUNDUP_INLINE vfloat load(const bfloat16* p, Full lanes, vfloat) { return load(p, lanes); }

GROUNDUP_INLINE vfloat load(const bfloat16* p, First lanes, vfloat rest = vfloat{}) {
  vhalf x = narrow(rest);
#if defined(__AVX512F__) && !defined(GROUNDUP_PLAIN_MEMORY)
  x = (vhalf)_mm256_mask_loadu_epi16((__m256i)x, (__mmask16)((1u << lanes.n) - 1), p);
#else
  for (int i = 0; i < lanes.n; ++i) x[i] = p[i].bits;
#endif
  return widen(x);
}

GROUNDUP_INLINE void store(bfloat16* p, vfloat x, Full) {
  const vhalf bits = narrow(x);
  __builtin_memcpy(p, &bits, sizeof bits);
}

GROUNDUP_INLINE void store(bfloat16* p, vfloat x, First lanes) {
  const vhalf bits = narrow(x);
#if defined(__AVX512F__) && !defined(GROUNDUP_PLAIN_MEMORY)
  _mm256_mask_storeu_epi16(p, (__mmask16)((1u << lanes.n) - 1), (__m256i)bits);
#else
  for (int i = 0; i < lanes.n; ++i) p[i].bits = bits[i];
#endif
}

// -- stores past the caches, for what nobody reads again soon: they spare reading the line first.
// A full vector's address must be a multiple of its size; streaming_done() orders the stores
// before what follows.

GROUNDUP_INLINE void store_streaming(float* p, vfloat x, Full) {
#if defined(GROUNDUP_PLAIN_MEMORY)
  *(vfloat*)p = x;
#elif defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)x);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)x);
#elif defined(__x86_64__)
  _mm_stream_ps(p, (__m128)x);
#else
  store(p, x, Full{});
#endif
}

GROUNDUP_INLINE void store_streaming(bfloat16* p, vfloat x, Full) {
#if defined(GROUNDUP_PLAIN_MEMORY)
  *(vhalf*)p = narrow(x);
#elif defined(__AVX512F__)
  _mm256_stream_si256((__m256i*)p, (__m256i)narrow(x));
#elif defined(__AVX2__)
  _mm_stream_si128((__m128i*)p, (__m128i)narrow(x));
#else
  store(p, x, Full{});
#endif
}

template <class T>
GROUNDUP_INLINE void store_streaming(T* p, vfloat x, First lanes) {
  store(p, x, lanes);
}

GROUNDUP_INLINE void streaming_done() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// -- across lanes, in a fixed order

GROUNDUP_INLINE float largest(vfloat x) {
  float best = x[0];
  for (int i = 1; i < kLanes; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

GROUNDUP_INLINE double sum(vfloat x) {
  double parts[kLanes];
  for (int i = 0; i < kLanes; ++i) parts[i] = x[i];
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
  return parts[0];
}

// -- elementary functions

// e^r = 1 + r + r^2 P(r) on |r| <= ln(2)/2, P of degree 4: relative error below 2^-28.
GROUNDUP_INLINE vfloat exp_reduced(vfloat r) {
  vfloat p = splat(0.0013814320554956794f);
  p = p * r + 0.008368851616978645f;
  p = p * r + 0.041668400168418884f;
  p = p * r + 0.1666651964187622f;
  p = p * r + 0.5f;
  return (p * r + 1.0f) * r + 1.0f;
}

// x = n ln(2) + r. Adding 1.5 * 2^23 rounds to an integer, held in the low bits of the sum; ln(2)
// is taken off in two pieces, the first so short that n times it is exact.
constexpr float kRounder = 12582912.0f;
constexpr float kLog2e = 1.44269504088896341f;
constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

// 2^(j / kSteps) from a table that one permutation looks up; a cubic does the rest.
#if defined(__AVX512F__)
constexpr int kStepBits = 4;
#elif defined(__AVX2__)
constexpr int kStepBits = 3;
#endif

// e^x for x <= 88, which is all a softmax needs: results below 2^-126 are anything from 0 to there.
// 0 gives 1, -inf 0, NaN NaN. Relative error 2^-23 + |x| 2^-25: as if x had been rounded once.
GROUNDUP_INLINE vfloat exp_softmax(vfloat x) {
  x = max(splat(-88.03f), x);  // there 2^n as built below is 0
#if defined(__AVX2__)
  constexpr float rounder = kRounder / (1 << kStepBits);
  const vfloat biased = x * kLog2e + rounder;
  const vfloat r = x * kLog2e - (biased - rounder);
#if defined(__AVX512F__)
  const vfloat steps = {1.0f,          1.0442737341f, 1.0905077457f, 1.1387885809f,
                        1.1892070770f, 1.2418577671f, 1.2968395948f, 1.3542555571f,
                        1.4142135382f, 1.4768261909f, 1.5422108173f, 1.6104903221f,
                        1.6817928553f, 1.7562521696f, 1.8340080977f, 1.9152065516f};
  const vfloat step = (vfloat)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)biased, (__m512)steps);
  const vfloat q = (0.05550213158130646f * r + 0.24023430049419403f) * r + 0.6931471824645996f;
#else
  const vfloat steps = {1.0f,          1.0905077457f, 1.1892070770f, 1.2968395948f,
                        1.4142135382f, 1.5422108173f, 1.6817928553f, 1.8340080977f};
  const vfloat step = (vfloat)_mm256_permutevar8x32_ps((__m256)steps, (__m256i)biased);
  const vfloat q = (0.055496204644441605f * r + 0.24025769531726837f) * r + 0.6931472420692444f;
#endif
  const vuint whole = ((vuint)biased << (23 - kStepBits)) & 0xff800000u;
  const vfloat power = (vfloat)((vuint)step + whole);
  return power * (q * r) + power;
#else
  const vfloat biased = x * kLog2e + (kRounder + 127.0f);
  const vfloat n = biased - (kRounder + 127.0f);
  const vfloat r = (x - n * kLn2High) - n * kLn2Low;
  return exp_reduced(r) * (vfloat)((vuint)biased << 23);
#endif
}

// e^x for every x, within 1 ulp (1.25 without fused multiply-add): subnormal results, overflow to
// inf, -inf to 0, NaN to NaN.
GROUNDUP_INLINE vfloat exp(vfloat x) {
  // Clamped where the result is 0 or inf anyway; the comparisons leave NaN in place.
  x = select(x < -104.0f, splat(-104.0f), x);
  x = select(x > 89.0f, splat(89.0f), x);
  const vfloat biased = x * kLog2e + kRounder;
  const vfloat n = biased - kRounder;
  const vfloat r = (x - n * kLn2High) - n * kLn2Low;
  // 2^n in two factors, each a normal number: n reaches from -150 to 128.
  const vint whole = (vint)biased - (vint)splat(kRounder);
  const vint half = whole >> 1;
  const vfloat first = (vfloat)((half + 127) << 23);
  const vfloat second = (vfloat)((whole - half + 127) << 23);
  return exp_reduced(r) * first * second;
}

// Within 2 ulp; odd, and 1 at infinity.
GROUNDUP_INLINE vfloat tanh(vfloat x) {
  const vfloat size = abs(x);
  const vfloat z = x * x;
  vfloat p = splat(-0.00570494681596756f);
  p = p * z + 0.020639052614569664f;
  p = p * z - 0.05373970419168472f;
  p = p * z + 0.13331441581249237f;
  p = p * z - 0.3333328068256378f;
  const vfloat near_zero = size + size * z * p;
  const vfloat e = exp_softmax(-2.0f * size);
  const vfloat far = (1.0f - e) / (1.0f + e);
  const vfloat positive = select(size < 0.625f, near_zero, far);
  return (vfloat)((vuint)positive | ((vuint)x & 0x80000000u));
}

// Phi(x), the share of a standard normal below x, given gaussian = e^(-x^2/2); what erf is in other
// words, (1 + erf(x / sqrt(2))) / 2. Within 2 ulp; below -1 gaussian's own error comes on top.
//
// |x| < 1: 1/2 + x Q(x^2), Q of degree 5, relative error below 2^-30. Else through the tail beyond
// |x|, gaussian * u P(u) with u = 1 / (1 + 0.3 |x|), P of degree 9, relative error below 2^-28 up
// to 14, from where gaussian is 0: small shares keep their digits.
GROUNDUP_INLINE vfloat normal_cdf(vfloat x, vfloat gaussian) {
  const vfloat z = x * x;
  vfloat q = splat(-7.654196451767348e-06f);
  q = q * z + 0.00011348634143359959f;
  q = q * z - 0.001186329871416092f;
  q = q * z + 0.009973322972655296f;
  q = q * z - 0.06649035960435867f;
  q = q * z + 0.3989422917366028f;
  const vfloat near_zero = q * x + 0.5f;

  const vfloat size = abs(x);
  const vfloat u = 1.0f / (1.0f + 0.3f * size);
  vfloat p = splat(-0.020613680504269222f);
  p = p * u + 0.11238036807755114f;
  p = p * u - 0.22807820099611217f;
  p = p * u + 0.19159575891898098f;
  p = p * u - 0.07925883255328481f;
  p = p * u + 0.09606385729171142f;
  p = p * u + 0.07842355713649939f;
  p = p * u + 0.11022774116093771f;
  p = p * u + 0.11957279332795126f;
  p = p * u + 0.11968663641538516f;
  const vfloat tail = (p * u) * gaussian;
  return select(size < 1.0f, near_zero, select(x < 0.0f, tail, 1.0f - tail));
}

// The same, within 2^-16 of itself, which is enough where bfloat16 is to come of it: the tail
// alone, P of degree 5.
GROUNDUP_INLINE vfloat normal_cdf_short(vfloat x, vfloat gaussian) {
  const vfloat u = 1.0f / (1.0f + 0.3f * abs(x));
  vfloat p = splat(-0.07709765859631668f);
  p = p * u + 0.21603770203549164f;
  p = p * u - 0.01694872889486569f;
  p = p * u + 0.1441966916809473f;
  p = p * u + 0.11374185886030741f;
  p = p * u + 0.12007423745320633f;
  const vfloat tail = (p * u) * gaussian;
  return select(x < 0.0f, tail, 1.0f - tail);
}

}  // namespace groundup::GROUNDUP_ISA
