// The matrix products of attention, on blocks that lie in the caches: C (+)= A B with a tile of C
// in registers. B's and C's rows are vectors; A's elements are read one by one and splat, so A may
// lie by rows or by columns, with any stride: keys and values are used where they are.
#pragma once

#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

// A tile's accumulators, a row of B and one element of A fill the registers, 32 or 16.
constexpr int kTileRows = 6;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif

enum class Order { rows, columns };  // of A: element (m, k) at m * stride + k, or k * stride + m
enum class Into { fresh, accumulated };  // C = AB, or C += AB

template <Order kOrder, Into kInto, int M, int N>
void tile(const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c,
          int64_t c_stride, int64_t n_steps) {
  vfloat sums[M][N];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
      sums[m][n] = kInto == Into::fresh ? vfloat{} : load(c + m * c_stride + n * kLanes, Full{});
  for (int64_t k = 0; k < n_steps; ++k) {
    vfloat row[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) row[n] = load(b + k * b_stride + n * kLanes, Full{});
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const vfloat x = splat(kOrder == Order::rows ? a[m * a_stride + k] : a[k * a_stride + m]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sums[m][n] += x * row[n];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) store(c + m * c_stride + n * kLanes, sums[m][n], Full{});
}

using Tile = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t, int64_t);

template <Order kOrder, Into kInto, int N>
Tile tile_of(int64_t m) {
  switch (m) {
    case 1:
      return tile<kOrder, kInto, 1, N>;
    case 2:
      return tile<kOrder, kInto, 2, N>;
    case 3:
      return tile<kOrder, kInto, 3, N>;
    case 4:
      return tile<kOrder, kInto, 4, N>;
    case 5:
      return tile<kOrder, kInto, 5, N>;
    default:
      return tile<kOrder, kInto, kTileRows, N>;
  }
}

template <Order kOrder, Into kInto>
Tile tile_of(int64_t m, int64_t n) {
  switch (n) {
    case 1:
      return tile_of<kOrder, kInto, 1>(m);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 2:
      return tile_of<kOrder, kInto, 2>(m);
    case 3:
      return tile_of<kOrder, kInto, 3>(m);
#endif
    default:
      return tile_of<kOrder, kInto, kTileVectors>(m);
  }
}

// C, n_rows by n_vectors vectors, from A, n_rows by n_steps, and B, n_steps by n_vectors vectors.
template <Order kOrder, Into kInto>
void multiply(const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c,
              int64_t c_stride, int64_t n_rows, int64_t n_vectors, int64_t n_steps) {
  // Strips of nearly one width: a narrow one would have too few sums to hide the latency of one.
  int64_t n_strips = (n_vectors + kTileVectors - 1) / kTileVectors;
  for (int64_t first = 0, n; first < n_vectors; first += n, --n_strips) {
    n = (n_vectors - first + n_strips - 1) / n_strips;
    const Tile whole = tile_of<kOrder, kInto>(kTileRows, n);
    int64_t m = 0;
    for (; m + kTileRows <= n_rows; m += kTileRows)
      whole(a + m * (kOrder == Order::rows ? a_stride : 1), a_stride, b + first * kLanes, b_stride,
            c + m * c_stride + first * kLanes, c_stride, n_steps);
    if (m < n_rows)
      tile_of<kOrder, kInto>(n_rows - m, n)(a + m * (kOrder == Order::rows ? a_stride : 1),
                                            a_stride, b + first * kLanes, b_stride,
                                            c + m * c_stride + first * kLanes, c_stride, n_steps);
  }
}

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
