// Operands laid out as a tile reads them: for each step of k, the tile's rows of A or its columns
// of B side by side. Any strides come in; what is not contiguous along k's other side is turned
// here.
#pragma once

#include "matmul_blocks.h"
#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

// A square of vectors: element (i, j) to (j, i), by exchanging halves, then quarters, and so on.
GROUNDUP_INLINE void transpose(vfloat (&x)[kLanes]) {
#pragma GCC unroll 4
  for (int width = kLanes / 2; width > 0; width /= 2) {
    vint first, second;
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      first[i] = (i & width) ? kLanes + i - width : i;
      second[i] = (i & width) ? kLanes + i : i + width;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & width) continue;
      const vfloat upper = x[i], lower = x[i + width];
      x[i] = __builtin_shuffle(upper, lower, first);
      x[i + width] = __builtin_shuffle(upper, lower, second);
    }
  }
}

// Adjacent columns of B, n_vectors vectors of them, the last with `last` lanes; beyond are zeros.
void pack_rows(const float* from, int64_t row_stride, int64_t depth, int64_t n_vectors, int last,
               float* to) {
  for (int64_t k = 0; k < depth; ++k, from += row_stride, to += n_vectors * kLanes) {
    for (int64_t v = 0; v + 1 < n_vectors; ++v)
      store(to + v * kLanes, load(from + v * kLanes, Full{}), Full{});
    const int64_t v = (n_vectors - 1) * kLanes;
    store(to + v, last == kLanes ? load(from + v, Full{}) : load(from + v, First{last}), Full{});
  }
}

// Columns of B, each of them adjacent or at any stride, `n_live` of a vector of them.
void pack_columns(const float* from, int64_t row_stride, int64_t column_stride, int64_t depth,
                  int64_t n_live, float* to, int64_t to_stride) {
  int64_t k = 0;
  if (row_stride == 1 && n_live == kLanes)
    for (; k + kLanes <= depth; k += kLanes) {
      vfloat square[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) square[i] = load(from + i * column_stride + k, Full{});
      transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(to + (k + i) * to_stride, square[i], Full{});
    }
  for (; k < depth; ++k)
    for (int64_t i = 0; i < kLanes; ++i)
      to[k * to_stride + i] = i < n_live ? from[i * column_stride + k * row_stride] : 0.0f;
}

// Element (0, 0) of b is the sliver's first; `width` of its columns. To (depth, whole vectors).
void pack_b(const Matrix& b, int64_t depth, int64_t width, float* to) {
  const int64_t n_vectors = parts(width, kLanes);
  if (b.column_stride == 1) {
    const int last = (int)(width - (n_vectors - 1) * kLanes);
    pack_rows(b.values, b.row_stride, depth, n_vectors, last, to);
    return;
  }
  for (int64_t n = 0; n < width; n += kLanes)
    pack_columns(b.values + n * b.column_stride, b.row_stride, b.column_stride, depth,
                 smaller(kLanes, width - n), to + n, n_vectors * kLanes);
}

// Eight floats on every instruction set: a tile has six rows.
typedef float eight __attribute__((vector_size(32)));
constexpr int64_t kEight = 8;

// Element (0, 0) of a is the first of n_rows, which n_tiles share; `n_after` rows of A come after
// these. Each tile becomes (depth, kTileRows), sliver floats after the one before.
void pack_a(const Matrix& a, int64_t n_rows, int64_t n_after, int64_t n_tiles, int64_t depth,
            float* to, int64_t sliver) {
  if (a.row_stride == 1) {
    // Step by step of k, since a column of A is what lies together. The tiles that can be read
    // eight floats at a time without leaving A come first.
    int64_t n_wide = n_tiles;
    while (n_wide > 0 && bound(n_rows, n_tiles, n_wide - 1) + kEight > n_rows + n_after) --n_wide;
    int64_t first[kTaskRows / 4];
    for (int64_t i = 0; i < n_tiles; ++i) first[i] = bound(n_rows, n_tiles, i);
    for (int64_t k = 0; k < depth; ++k) {
      const float* column = a.values + k * a.column_stride;
      float* step = to + k * kTileRows;
      for (int64_t i = 0; i < n_wide; ++i, step += sliver)
        __builtin_memcpy(step, column + first[i], sizeof(eight));
      for (int64_t i = n_wide; i < n_tiles; ++i, step += sliver)
        for (int64_t row = first[i]; row < bound(n_rows, n_tiles, i + 1); ++row)
          step[row - first[i]] = column[row];
    }
    return;
  }
  for (int64_t i = 0; i < n_tiles; ++i, to += sliver) {
    const int64_t first = bound(n_rows, n_tiles, i), end = bound(n_rows, n_tiles, i + 1);
    for (int64_t row = first; row < end; ++row)
      for (int64_t k = 0; k < depth; ++k)
        to[k * kTileRows + row - first] = a.values[row * a.row_stride + k * a.column_stride];
  }
}

// Sums over k of what was packed, (depth, n) with n >= the vector's size; added to those of the
// blocks before. In stretches, so that the error grows with the root of their length.
constexpr int64_t kStretch = 16;

template <class Vector>
GROUNDUP_INLINE Vector packed_sum(const float* packed, int64_t depth, int64_t stride) {
  Vector total{};
  for (int64_t begin = 0; begin < depth; begin += kStretch) {
    Vector stretch{};
    for (int64_t k = begin; k < smaller(begin + kStretch, depth); ++k) {
      Vector step;
      __builtin_memcpy(&step, packed + k * stride, sizeof step);
      stretch += step;
    }
    total += stretch;
  }
  return total;
}

void add_b_sums(const float* packed, int64_t depth, int64_t width, bool first_block, float* sums) {
  const int64_t stride = parts(width, kLanes) * kLanes;
  for (int64_t n = 0; n < width; n += kLanes) {
    const vfloat total = packed_sum<vfloat>(packed + n, depth, stride);
    for (int64_t i = 0; i < smaller(kLanes, width - n); ++i)
      sums[n + i] = first_block ? total[i] : sums[n + i] + total[i];
  }
}

// Each step of k has six rows and what follows them; the two lanes more are not looked at.
void add_a_sums(const float* packed, int64_t sliver, int64_t n_rows, int64_t n_tiles, int64_t depth,
                bool first_block, float* sums) {
  for (int64_t i = 0; i < n_tiles; ++i, packed += sliver) {
    const eight total = packed_sum<eight>(packed, depth, kTileRows);
    const int64_t first = bound(n_rows, n_tiles, i);
    for (int64_t row = first; row < bound(n_rows, n_tiles, i + 1); ++row)
      sums[row] = first_block ? total[row - first] : sums[row] + total[row - first];
  }
}

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
