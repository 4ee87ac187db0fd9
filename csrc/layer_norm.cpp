// Rows are independent; the sums over rows go through blocks. Derivation: docs/layer_norm.md.
#include "layer_norm.h"

#include "parallel.h"
#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

constexpr int64_t kSerialElements = 16384;
constexpr int kUnroll = 4;       // independent accumulators: a sum waits for none of them
constexpr int64_t kSpan = 8192;  // columns per float accumulation; spans are added in double

GROUNDUP_INLINE vfloat first_lanes(vfloat x, Full) { return x; }
GROUNDUP_INLINE vfloat first_lanes(vfloat x, First lanes) {
  vint index;
  for (int i = 0; i < kLanes; ++i) index[i] = i;
  return select(index < lanes.n, x, vfloat{});
}

// body(i, lanes, k) for the vectors of [begin, end); k numbers the accumulator.
template <class Body>
GROUNDUP_INLINE void sweep(int64_t begin, int64_t end, Body body) {
  int64_t i = begin;
  for (; i + kUnroll * kLanes <= end; i += kUnroll * kLanes) {
#pragma GCC unroll 4
    for (int k = 0; k < kUnroll; ++k) body(i + k * kLanes, Full{}, k);
  }
  for (; i + kLanes <= end; i += kLanes) body(i, Full{}, 0);
  if (i < end) body(i, First{(int)(end - i)}, 0);
}

#define GROUNDUP_BODY [&](int64_t i, auto lanes, int k) __attribute__((always_inline))

// The sum of term(i, lanes), lanes beyond the end left out.
template <class Term>
GROUNDUP_INLINE double sum_over(int64_t n, Term term) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kSpan) {
    vfloat parts[kUnroll] = {};
    sweep(
        begin, begin + kSpan < n ? begin + kSpan : n,
        GROUNDUP_BODY { parts[k] += first_lanes(term(i, lanes), lanes); });
    total += sum((parts[0] + parts[1]) + (parts[2] + parts[3]));
  }
  return total;
}

// Two passes over a row that stays in cache: the mean first, so that the squares are of what is
// left, and nothing cancels however large the mean is.
template <class T>
void forward_row(const LayerNorm& job, int64_t row) {
  const T* x = (const T*)job.input + row * job.row_stride;
  T* out = (T*)job.output + row * job.n_columns;
  const int64_t n = job.n_columns;
  const float mean =
      (float)(sum_over(n, [&](int64_t i, auto lanes)
                              __attribute__((always_inline)) { return load(x + i, lanes); }) /
              (double)n);
  const double squares = sum_over(n, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
    const vfloat d = load(x + i, lanes) - mean;
    return d * d;
  });
  const float scale = (float)(1 / __builtin_sqrt(squares / (double)n + job.eps));
  job.statistics[2 * row] = mean;
  job.statistics[2 * row + 1] = scale;
  const float *weight = job.weight, *bias = job.bias;
  sweep(
      0, n, GROUNDUP_BODY {
        (void)k;
        vfloat y = (load(x + i, lanes) - mean) * scale;
        if (weight) y *= load(weight + i, lanes);
        if (bias) y += load(bias + i, lanes);
        store(out + i, y, lanes);
      });
}

// With x^ = (x - mean) * scale and g = dy * weight:
// dx = scale * (g - mean(g) - x^ * mean(g * x^)).
template <class T>
void backward_row(const LayerNorm& job, int64_t row, float* dweight, float* dbias) {
  const T* x = (const T*)job.input + row * job.row_stride;
  const T* dy = (const T*)job.doutput + row * job.doutput_row_stride;
  const int64_t n = job.n_columns;
  const float mean = job.statistics[2 * row], scale = job.statistics[2 * row + 1];
  const float* weight = job.weight;
  double sum_g = 0, sum_gx = 0;
  for (int64_t begin = 0; begin < n; begin += kSpan) {
    vfloat g_parts[kUnroll] = {}, gx_parts[kUnroll] = {};
    sweep(
        begin, begin + kSpan < n ? begin + kSpan : n, GROUNDUP_BODY {
          const vfloat d = load(dy + i, lanes);
          const vfloat normal = (load(x + i, lanes) - mean) * scale;
          vfloat g = d;
          if (weight) g *= load(weight + i, lanes);
          g_parts[k] += first_lanes(g, lanes);
          gx_parts[k] += first_lanes(g * normal, lanes);
          if (dweight) store(dweight + i, load(dweight + i, lanes) + d * normal, lanes);
          if (dbias) store(dbias + i, load(dbias + i, lanes) + d, lanes);
        });
    sum_g += sum((g_parts[0] + g_parts[1]) + (g_parts[2] + g_parts[3]));
    sum_gx += sum((gx_parts[0] + gx_parts[1]) + (gx_parts[2] + gx_parts[3]));
  }
  if (!job.dinput) return;
  T* dx = (T*)job.dinput + row * n;
  const float mean_g = (float)(sum_g / (double)n), mean_gx = (float)(sum_gx / (double)n);
  sweep(
      0, n, GROUNDUP_BODY {
        (void)k;
        const vfloat normal = (load(x + i, lanes) - mean) * scale;
        vfloat g = load(dy + i, lanes);
        if (weight) g *= load(weight + i, lanes);
        store(dx + i, ((g - mean_g) - normal * mean_gx) * scale, lanes);
      });
}

template <class T>
void backward_block(const LayerNorm& job, int64_t block, int64_t block_rows) {
  const int64_t begin = block * block_rows;
  const int64_t end = begin + block_rows < job.n_rows ? begin + block_rows : job.n_rows;
  float* sums = job.sums ? job.sums + 2 * block * job.n_columns : nullptr;
  if (sums) __builtin_memset(sums, 0, 2 * (size_t)job.n_columns * sizeof(float));
  float* dweight = job.dweight ? sums : nullptr;
  float* dbias = job.dbias ? sums + job.n_columns : nullptr;
  for (int64_t row = begin; row < end; ++row) backward_row<T>(job, row, dweight, dbias);
}

void add_blocks(const LayerNorm& job, int64_t n_blocks, float* out, int64_t offset) {
  const int64_t n = job.n_columns;
  for (int64_t i = 0; i < n; ++i) {
    double total = 0;
    for (int64_t block = 0; block < n_blocks; ++block)
      total += job.sums[(2 * block + offset) * n + i];
    out[i] = (float)total;
  }
}

int threads_for(const LayerNorm& job) {
  return job.n_rows * job.n_columns < kSerialElements ? 1 : usable_threads();
}

}  // namespace

void layer_norm_forward_cpu(const LayerNorm& job) noexcept {
  const int threads = threads_for(job);
  const int64_t grab = 1 + kSerialElements / job.n_columns;
  (void)threads, (void)grab;  // unused without OpenMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, grab) if (threads > 1)
  for (int64_t row = 0; row < job.n_rows; ++row)
    job.is_bfloat16 ? forward_row<bfloat16>(job, row) : forward_row<float>(job, row);
}

void layer_norm_backward_cpu(const LayerNorm& job) noexcept {
  const int threads = threads_for(job);
  const int64_t block_rows = layer_norm_block_rows(job.n_rows);
  const int64_t n_blocks = layer_norm_blocks(job.n_rows);
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
  for (int64_t block = 0; block < n_blocks; ++block)
    job.is_bfloat16 ? backward_block<bfloat16>(job, block, block_rows)
                    : backward_block<float>(job, block, block_rows);
  if (job.dweight) add_blocks(job, n_blocks, job.dweight, 0);
  if (job.dbias) add_blocks(job, n_blocks, job.dbias, 1);
}

}  // namespace groundup::GROUNDUP_ISA
