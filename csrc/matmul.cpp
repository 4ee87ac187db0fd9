// A tile of C stays in registers while k runs; B comes to it packed, one block of B for all
// threads, and A where it lies, or packed by the thread that needs it. Derivation: docs/linear.md.
#include "matmul.h"

#include "gelu_share.h"
#include "matmul_blocks.h"
#include "matmul_pack.h"
#include "parallel.h"
#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

// A tile's sums, a row of B and one element of A fill the registers, 32 or 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif
constexpr int64_t kTileColumns = kTileVectors * kLanes;
static_assert(kColumnUnit % kTileColumns == 0, "a block of B is a whole number of tiles");

enum class Order { rows, columns };  // of A: element (m, k) at m * stride + k, or k * kTileRows + m

struct Tile {
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t depth;
  float* c;
  int64_t c_stride;
  bool accumulate;
  const float* bias;  // or null: not at this depth
  int last;           // lanes of the last vector
};

template <class Lanes>
GROUNDUP_INLINE void finish(const Tile& tile, float* c, int64_t n, vfloat sum, Lanes lanes) {
  if (tile.accumulate) sum += load(c + n, lanes);
  if (tile.bias) sum += load(tile.bias + n, lanes);
  store(c + n, sum, lanes);
}

template <Order kOrder, int M, int N>
void multiply(const Tile& tile) {
  vfloat sums[M][N];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) sums[m][n] = vfloat{};
  const float *a = tile.a, *b = tile.b;
  const int64_t stride = tile.a_stride;
  for (int64_t k = 0; k < tile.depth; ++k, b += N * kLanes) {
    vfloat row[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) row[n] = load(b + n * kLanes, Full{});
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const vfloat x = splat(kOrder == Order::rows ? a[m * stride + k] : a[k * kTileRows + m]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sums[m][n] += x * row[n];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    float* c = tile.c + m * tile.c_stride;
#pragma GCC unroll 8
    for (int n = 0; n + 1 < N; ++n) finish(tile, c, n * kLanes, sums[m][n], Full{});
    constexpr int64_t n = N - 1;
    if (tile.last == kLanes)
      finish(tile, c, n * kLanes, sums[m][n], Full{});
    else
      finish(tile, c, n * kLanes, sums[m][n], First{tile.last});
  }
}

using Multiply = void (*)(const Tile&);

template <Order kOrder, int N>
constexpr Multiply kMultiply[kTileRows + 1] = {nullptr,
                                               multiply<kOrder, 1, N>,
                                               multiply<kOrder, 2, N>,
                                               multiply<kOrder, 3, N>,
                                               multiply<kOrder, 4, N>,
                                               multiply<kOrder, 5, N>,
                                               multiply<kOrder, 6, N>};

// By the number of rows.
template <Order kOrder>
const Multiply* multiply_of(int64_t n_vectors) {
  switch (n_vectors) {
    case 1:
      return kMultiply<kOrder, 1>;
#if defined(__AVX512F__) || defined(__aarch64__)
    case 2:
      return kMultiply<kOrder, 2>;
    case 3:
      return kMultiply<kOrder, 3>;
#endif
    default:
      return kMultiply<kOrder, kTileVectors>;
  }
}

template <bool kTanh>
void activate(const float* c, float* activated, int64_t c_stride, int64_t n_rows, int64_t width) {
  const auto at = [](const float* from, float* to, auto lanes) __attribute__((always_inline)) {
    const vfloat x = load(from, lanes);
    store(to, x * (kTanh ? gelu_tanh(x) : gelu_exact<float>(x)).share, lanes);
  };
  for (int64_t m = 0; m < n_rows; ++m, c += c_stride, activated += c_stride) {
    int64_t n = 0;
    for (; n + kLanes <= width; n += kLanes) at(c + n, activated + n, Full{});
    if (n < width) at(c + n, activated + n, First{(int)(width - n)});
  }
}

// Rows [begin, end) of C, where their A is, and at which step of k they are.
struct Rows {
  int64_t begin, end, n_tiles;
  const float* packed_a;  // or null: A is read where it lies
  int64_t sliver_a;
  int64_t k, depth;

  Rows(const Matmul& job, const MatmulBlocks& blocks, int64_t i, int64_t k)
      : begin(bound(job.m, blocks.n_row_tasks, i)),
        end(bound(job.m, blocks.n_row_tasks, i + 1)),
        n_tiles(parts(end - begin, kTileRows)),
        packed_a(nullptr),
        sliver_a(blocks.sliver_a),
        k(k),
        depth(smaller(blocks.depth, job.k - k)) {}

  void pack(const Matmul& job, float* to, bool with_sums) {
    const Matrix from{job.a.values + begin * job.a.row_stride + k * job.a.column_stride,
                      job.a.row_stride, job.a.column_stride};
    pack_a(from, end - begin, job.m - end, n_tiles, depth, to, sliver_a);
    if (with_sums)
      add_a_sums(to, sliver_a, end - begin, n_tiles, depth, k == 0, job.a_sums + begin);
    packed_a = to;
  }
};

// Those rows of one sliver of C, columns [begin, begin + width).
void multiply_sliver(const Matmul& job, const Rows& rows, const float* packed_b, int64_t begin,
                     int64_t width) {
  const int64_t n_vectors = parts(width, kLanes);
  const Multiply* const by_rows =
      rows.packed_a ? multiply_of<Order::columns>(n_vectors) : multiply_of<Order::rows>(n_vectors);
  const bool is_last = rows.k + rows.depth >= job.k;
  Tile tile;
  tile.a_stride = job.a.row_stride;
  tile.b = packed_b;
  tile.depth = rows.depth;
  tile.c_stride = job.c_row_stride;
  tile.accumulate = job.accumulate || rows.k > 0;
  tile.bias = job.bias && is_last ? job.bias + begin : nullptr;
  tile.last = (int)(width - (n_vectors - 1) * kLanes);
  for (int64_t i = 0; i < rows.n_tiles; ++i) {
    const int64_t row = rows.begin + bound(rows.end - rows.begin, rows.n_tiles, i);
    const int64_t n_rows = rows.begin + bound(rows.end - rows.begin, rows.n_tiles, i + 1) - row;
    tile.a = rows.packed_a ? rows.packed_a + i * rows.sliver_a
                           : job.a.values + row * job.a.row_stride + rows.k;
    const int64_t offset = row * job.c_row_stride + begin;
    tile.c = job.c + offset;
    by_rows[n_rows](tile);
    // While the tile is in the first-level cache.
    if (is_last && job.activation == Activation::gelu)
      activate<false>(tile.c, job.activated + offset, job.c_row_stride, n_rows, width);
    if (is_last && job.activation == Activation::gelu_tanh)
      activate<true>(tile.c, job.activated + offset, job.c_row_stride, n_rows, width);
  }
}

// Columns [begin, begin + width) of B at one step of k.
void pack_sliver(const Matmul& job, int64_t k, int64_t depth, int64_t begin, int64_t width,
                 float* to) {
  const Matrix from{job.b.values + k * job.b.row_stride + begin * job.b.column_stride,
                    job.b.row_stride, job.b.column_stride};
  pack_b(from, depth, width, to);
  if (job.b_sums) add_b_sums(to, depth, width, k == 0, job.b_sums + begin);
}

// Inside a parallel region, as are those below.
void multiply_by_columns(const Matmul& job, const MatmulBlocks& blocks) {
  float* const all_a = job.space + job.n_threads * blocks.packed_b;
  float* const packed_b = job.space + thread_number() * blocks.packed_b;
  // Where A is not packed, a thread goes through all of k with its columns of C.
  const int64_t step = blocks.packs_a ? blocks.depth : larger(1, job.k);
  for (int64_t first = 0; first == 0 || first < job.k; first += step) {
    if (blocks.packs_a) {
#pragma omp for schedule(dynamic, 1)
      for (int64_t i = 0; i < blocks.n_row_tasks; ++i)
        Rows(job, blocks, i, first).pack(job, all_a + i * blocks.packed_a, job.a_sums);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t unit = 0; unit < blocks.n_column_tasks; ++unit) {
      const int64_t begin = unit * kColumnUnit, end = smaller(begin + kColumnUnit, job.n);
      for (int64_t k = first; k == first || k < smaller(first + step, job.k); k += blocks.depth) {
        const int64_t depth = smaller(blocks.depth, job.k - k);
        for (int64_t n = begin; n < end; n += kTileColumns)
          pack_sliver(job, k, depth, n, smaller(kTileColumns, end - n),
                      packed_b + (n - begin) * depth);
        for (int64_t i = 0; i < blocks.n_row_tasks; ++i) {
          Rows rows(job, blocks, i, k);
          if (blocks.packs_a) rows.packed_a = all_a + i * blocks.packed_a;
          for (int64_t n = begin; n < end; n += kTileColumns)
            multiply_sliver(job, rows, packed_b + (n - begin) * depth, n,
                            smaller(kTileColumns, end - n));
        }
      }
    }
  }
}

void multiply_by_rows(const Matmul& job, const MatmulBlocks& blocks) {
  float* const packed_a = job.space + blocks.packed_b + thread_number() * blocks.packed_a;
  for (int64_t begin = 0; begin < job.n; begin += blocks.columns) {
    const int64_t end = smaller(begin + blocks.columns, job.n);
    const int64_t n_slivers = parts(end - begin, kTileColumns);
    const int64_t step = blocks.depth * blocks.n_depths;
    const auto packed_b = [&](int64_t k, int64_t depth, int64_t n) {
      return job.space + k % step * blocks.columns + (n - begin) * depth;
    };
    // Once at least: without k, C is the bias.
    for (int64_t first = 0; first == 0 || first < job.k; first += step) {
      const int64_t past = smaller(first + step, job.k);
#pragma omp for schedule(dynamic, 1)
      for (int64_t i = 0; i < n_slivers; ++i) {
        const int64_t n = begin + i * kTileColumns;
        for (int64_t k = first; k == first || k < past; k += blocks.depth) {
          const int64_t depth = smaller(blocks.depth, job.k - k);
          pack_sliver(job, k, depth, n, smaller(kTileColumns, end - n), packed_b(k, depth, n));
        }
      }
#pragma omp for schedule(dynamic, 1)
      for (int64_t task = 0; task < blocks.n_row_tasks * blocks.n_column_tasks; ++task) {
        const int64_t i = task / blocks.n_column_tasks, part = task % blocks.n_column_tasks;
        const int64_t last = bound(n_slivers, blocks.n_column_tasks, part + 1);
        for (int64_t k = first; k == first || k < past; k += blocks.depth) {
          Rows rows(job, blocks, i, k);
          if (blocks.packs_a) rows.pack(job, packed_a, job.a_sums && begin == 0 && part == 0);
          for (int64_t s = bound(n_slivers, blocks.n_column_tasks, part); s < last; ++s) {
            const int64_t n = begin + s * kTileColumns;
            multiply_sliver(job, rows, packed_b(k, rows.depth, n), n,
                            smaller(kTileColumns, end - n));
          }
        }
      }
    }
  }
}

}  // namespace

void matmul_cpu(const Matmul& job) noexcept {
  const MatmulBlocks blocks(job);
#pragma omp parallel num_threads(job.n_threads) if (job.n_threads > 1)
  {
    if (blocks.by_columns)
      multiply_by_columns(job, blocks);
    else
      multiply_by_rows(job, blocks);
  }
}

}  // namespace groundup::GROUNDUP_ISA
