// Rows to columns and back, in square blocks that are turned in registers.
#pragma once

#include "attention_space.h"
#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

#if defined(__clang__)
#define GROUNDUP_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define GROUNDUP_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, vint{__VA_ARGS__})
#endif

#if defined(__AVX512F__)
#define GROUNDUP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define GROUNDUP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define GROUNDUP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define GROUNDUP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define GROUNDUP_LOW 0, 4, 1, 5
#define GROUNDUP_HIGH 2, 6, 3, 7
#endif

// a0 b0 a1 b1 ... of the lower halves, and of the upper ones.
GROUNDUP_INLINE vfloat interleave_low(vfloat a, vfloat b) {
  return GROUNDUP_SHUFFLE(a, b, GROUNDUP_LOW);
}
GROUNDUP_INLINE vfloat interleave_high(vfloat a, vfloat b) {
  return GROUNDUP_SHUFFLE(a, b, GROUNDUP_HIGH);
}

#undef GROUNDUP_SHUFFLE
#undef GROUNDUP_LOW
#undef GROUNDUP_HIGH

// Interleaving row i with row i + kLanes / 2 doubles how much of each column lies together: after
// log2(kLanes) rounds every row is a column.
GROUNDUP_INLINE void transpose(vfloat (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int n = 1; n < kLanes; n *= 2) {
    vfloat next[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = interleave_low(rows[i], rows[i + kLanes / 2]);
      next[2 * i + 1] = interleave_high(rows[i], rows[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
}

template <class T>
GROUNDUP_INLINE vfloat load_some(const T* p, int64_t n) {
  return n >= kLanes ? load(p, Full{}) : load(p, First{(int)n});
}
template <class T>
GROUNDUP_INLINE void store_some(T* p, vfloat x, int64_t n) {
  if (n >= kLanes)
    store(p, x, Full{});
  else
    store(p, x, First{(int)n});
}

// `n` rows into (width, kQueries), times factor, with zeros in the lanes after the last.
template <class T>
void to_columns(const T* rows, int64_t stride, int64_t n, int64_t width, float factor,
                float* columns) {
  for (int64_t i = 0; i < n; i += kLanes)
    for (int64_t d = 0; d < width; d += kLanes) {
      vfloat block[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r)
        block[r] = i + r < n ? load_some(rows + (i + r) * stride + d, width - d) : vfloat{};
      transpose(block);
#pragma GCC unroll 16
      for (int c = 0; c < kLanes; ++c)
        if (d + c < width) store(columns + (d + c) * kQueries + i, block[c] * factor, Full{});
    }
}

// Back: row i is its column times factors[i].
template <class T>
void from_columns(const float* columns, const float* factors, int64_t n, int64_t width, T* rows,
                  int64_t stride) {
  for (int64_t i = 0; i < n; i += kLanes)
    for (int64_t d = 0; d < width; d += kLanes) {
      vfloat block[kLanes];
#pragma GCC unroll 16
      for (int c = 0; c < kLanes; ++c)
        block[c] = d + c < width ? load(columns + (d + c) * kQueries + i, Full{}) : vfloat{};
      transpose(block);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r)
        if (i + r < n)
          store_some(rows + (i + r) * stride + d, block[r] * factors[i + r], width - d);
    }
}

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
