// Rows are independent; the sums over rows go through blocks. Derivation: docs/layer_norm.md.
#include "layer_norm.h"

#include "parallel.h"
#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

constexpr int64_t kSerialElements = 16384;
constexpr int64_t kStreamBytes = 8 << 20;  // an output of this size does not stay in cache
constexpr int64_t kSpan = 2048;   // columns per float accumulation; spans are added in double
constexpr int kRowsTogether = 4;  // rows that share weights, and trips to the sums over rows
constexpr int64_t kColumnsTogether = 64;

GROUNDUP_INLINE vfloat first_lanes(vfloat x, Full) { return x; }
GROUNDUP_INLINE vfloat first_lanes(vfloat x, First lanes) {
  vint index;
  for (int i = 0; i < kLanes; ++i) index[i] = i;
  return select(index < lanes.n, x, vfloat{});
}

// body(i, lanes) for the vectors of [begin, end). Only the last may be partial.
template <class Body>
GROUNDUP_INLINE void each_vector(int64_t begin, int64_t end, Body body) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, Full{});
  if (i < end) body(i, First{(int)(end - i)});
}

template <bool kStream, class T>
GROUNDUP_INLINE void put(T* p, vfloat x, Full lanes) {
  if constexpr (kStream)
    store_streaming(p, x, lanes);
  else
    store(p, x, lanes);
}
template <bool kStream, class T>
GROUNDUP_INLINE void put(T* p, vfloat x, First lanes) {
  store(p, x, lanes);
}

// totals[r]: the sum over the columns of term(r, i, lanes), lanes beyond the end left out. Several
// rows at a time hide how long each waits for its own sum.
template <int kRows, class Term>
GROUNDUP_INLINE void sum_rows(int64_t n, double* totals, Term term) {
  for (int r = 0; r < kRows; ++r) totals[r] = 0;
  for (int64_t begin = 0; begin < n; begin += kSpan) {
    vfloat parts[kRows] = {};
    const auto at = [&](int64_t i, auto lanes) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) parts[r] += first_lanes(term(r, i, lanes), lanes);
    };
    each_vector(begin, begin + kSpan < n ? begin + kSpan : n, at);
    for (int r = 0; r < kRows; ++r) totals[r] += sum(parts[r]);
  }
}

// Memory is met row by row, one stream after the other, as the hardware fetches it: four rows side
// by side took twice as long wherever they were not in the nearest cache (docs/log.md).

template <class T>
double sum_row(const T* x, int64_t n) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kSpan) {
    const int64_t end = begin + kSpan < n ? begin + kSpan : n;
    vfloat parts[4] = {};
    int64_t i = begin;
    for (; i + 4 * kLanes <= end; i += 4 * kLanes)
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) parts[k] += load(x + i + k * kLanes, Full{});
    each_vector(i, end, [&](int64_t at, auto lanes) __attribute__((always_inline)) {
      parts[0] += first_lanes(load(x + at, lanes), lanes);
    });
    total += sum((parts[0] + parts[1]) + (parts[2] + parts[3]));
  }
  return total;
}

// The row of the sum, written. Normalized is what it holds, rounded, as if the sum had been given.
template <class T>
const T* add_row(const LayerNorm& job, int64_t row, const T* x) {
  const T* residual = (const T*)job.residual + row * job.residual_row_stride;
  T* total = (T*)job.sum + row * job.n_columns;
  each_vector(0, job.n_columns, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
    store(total + i, load(x + i, lanes) + load(residual + i, lanes), lanes);
  });
  return total;
}

// Two passes over rows that stay in cache: the means first, so that the squares are of what is
// left, and nothing cancels however large a mean is.
template <class T, bool kStream, int kRows>
void forward_rows(const LayerNorm& job, int64_t first) {
  const int64_t n = job.n_columns;
  const T* x[kRows];
  T* out[kRows];
  float mean[kRows], scale[kRows];
  double totals[kRows];
  for (int r = 0; r < kRows; ++r) {
    x[r] = (const T*)job.input + (first + r) * job.row_stride;
    out[r] = (T*)job.output + (first + r) * n;
    if (job.residual) x[r] = add_row(job, first + r, x[r]);
  }
  for (int r = 0; r < kRows; ++r) totals[r] = sum_row(x[r], n);
  for (int r = 0; r < kRows; ++r) mean[r] = (float)(totals[r] / (double)n);
  sum_rows<kRows>(n, totals, [&](int r, int64_t i, auto lanes) __attribute__((always_inline)) {
    const vfloat d = load(x[r] + i, lanes) - mean[r];
    return d * d;
  });
  for (int r = 0; r < kRows; ++r) {
    scale[r] = (float)(1 / __builtin_sqrt(totals[r] / (double)n + job.eps));
    job.statistics[2 * (first + r)] = mean[r];
    job.statistics[2 * (first + r) + 1] = scale[r];
  }
  const float *weight = job.weight, *bias = job.bias;
  for (int r = 0; r < kRows; ++r)
    each_vector(0, n, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
      const vfloat w = weight ? load(weight + i, lanes) : splat(1.0f);
      const vfloat b = bias ? load(bias + i, lanes) : vfloat{};
      vfloat y = (load(x[r] + i, lanes) - mean[r]) * scale[r];
      put<kStream>(out[r] + i, y * w + b, lanes);
    });
}

// With x^ = (x - mean) * scale and g = dy * weight:
// dx = scale * (g - mean(g) - x^ * mean(g * x^)).
//
// The row's two means come first, row by row; the sums over rows then take several rows at a time,
// out of the nearest cache, so that they are read and written once for all of them.
template <class T, bool kStream, int kRows>
void backward_rows(const LayerNorm& job, int64_t first, float* dweight, float* dbias) {
  const int64_t n = job.n_columns;
  const float* weight = job.weight;
  const T *x[kRows], *dy[kRows];
  float mean[kRows], scale[kRows];
  double sum_g[kRows] = {}, sum_gx[kRows] = {};
  for (int r = 0; r < kRows; ++r) {
    x[r] = (const T*)job.input + (first + r) * job.row_stride;
    dy[r] = (const T*)job.doutput + (first + r) * job.doutput_row_stride;
    mean[r] = job.statistics[2 * (first + r)];
    scale[r] = job.statistics[2 * (first + r) + 1];
  }
  for (int r = 0; r < kRows; ++r) {
    for (int64_t begin = 0; begin < n; begin += kSpan) {
      const int64_t end = begin + kSpan < n ? begin + kSpan : n;
      vfloat g_parts[2] = {}, gx_parts[2] = {};
      const auto at = [&](int64_t i, auto lanes, int k = 0) __attribute__((always_inline)) {
        const vfloat w = weight ? load(weight + i, lanes) : splat(1.0f);
        const vfloat g = load(dy[r] + i, lanes) * w;
        const vfloat normal = (load(x[r] + i, lanes) - mean[r]) * scale[r];
        g_parts[k] += first_lanes(g, lanes);
        gx_parts[k] += first_lanes(g * normal, lanes);
      };
      int64_t i = begin;
      for (; i + 2 * kLanes <= end; i += 2 * kLanes) at(i, Full{}), at(i + kLanes, Full{}, 1);
      each_vector(i, end, at);
      sum_g[r] += sum(g_parts[0] + g_parts[1]), sum_gx[r] += sum(gx_parts[0] + gx_parts[1]);
    }
  }
  if (dweight || dbias)
    each_vector(0, n, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
      vfloat over_rows{}, normal_over_rows{};
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const vfloat d = load(dy[r] + i, lanes);
        over_rows += d;
        normal_over_rows += d * ((load(x[r] + i, lanes) - mean[r]) * scale[r]);
      }
      if (dweight) store(dweight + i, load(dweight + i, lanes) + normal_over_rows, lanes);
      if (dbias) store(dbias + i, load(dbias + i, lanes) + over_rows, lanes);
    });
  if (!job.dinput) return;
  for (int r = 0; r < kRows; ++r) {
    T* dx = (T*)job.dinput + (first + r) * n;
    const T* dsum = job.dsum ? (const T*)job.dsum + (first + r) * job.dsum_row_stride : nullptr;
    const float mean_g = (float)(sum_g[r] / (double)n), mean_gx = (float)(sum_gx[r] / (double)n);
    each_vector(0, n, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
      const vfloat normal = (load(x[r] + i, lanes) - mean[r]) * scale[r];
      vfloat g = load(dy[r] + i, lanes);
      if (weight) g *= load(weight + i, lanes);
      vfloat d = ((g - mean_g) - normal * mean_gx) * scale[r];
      if (dsum) d += load(dsum + i, lanes);
      put<kStream>(dx + i, d, lanes);
    });
  }
}

template <class T, bool kStream>
void backward_block(const LayerNorm& job, int64_t block, int64_t block_rows) {
  int64_t row = block * block_rows;
  const int64_t end = row + block_rows < job.n_rows ? row + block_rows : job.n_rows;
  float* sums = job.sums ? job.sums + 2 * block * job.n_columns : nullptr;
  if (sums) __builtin_memset(sums, 0, 2 * (size_t)job.n_columns * sizeof(float));
  float* dweight = job.dweight ? sums : nullptr;
  float* dbias = job.dbias ? sums + job.n_columns : nullptr;
  for (; row + kRowsTogether <= end; row += kRowsTogether)
    backward_rows<T, kStream, kRowsTogether>(job, row, dweight, dbias);
  for (; row < end; ++row) backward_rows<T, kStream, 1>(job, row, dweight, dbias);
  if constexpr (kStream) streaming_done();
}

// Both sums of 64 columns, each over blocks in order.
void add_blocks(const LayerNorm& job, int64_t n_blocks, int64_t first) {
  const int64_t n = job.n_columns;
  const int64_t width = first + kColumnsTogether < n ? kColumnsTogether : n - first;
  for (int which = 0; which < 2; ++which) {
    float* const out = which == 0 ? job.dweight : job.dbias;
    if (!out) continue;
    double totals[kColumnsTogether] = {};
    for (int64_t block = 0; block < n_blocks; ++block) {
      const float* part = job.sums + (2 * block + which) * n + first;
      for (int64_t i = 0; i < width; ++i) totals[i] += part[i];
    }
    for (int64_t i = 0; i < width; ++i) out[first + i] = (float)totals[i];
  }
}

int threads_for(const LayerNorm& job) {
  return job.n_rows * job.n_columns < kSerialElements ? 1 : usable_threads();
}

// Whether rows of an output may be, and are worth being, stored past the caches: every full vector
// has to be aligned.
bool streams(const LayerNorm& job, const void* out) {
  const int64_t element = job.is_bfloat16 ? sizeof(bfloat16) : sizeof(float);
  const int64_t vector = kLanes * element;
  return job.n_rows * job.n_columns * element >= kStreamBytes && job.n_columns % kLanes == 0 &&
         (uintptr_t)out % vector == 0;
}

template <class T, bool kStream>
void forward_block(const LayerNorm& job, int64_t block, int64_t block_rows) {
  int64_t row = block * block_rows;
  const int64_t end = row + block_rows < job.n_rows ? row + block_rows : job.n_rows;
  for (; row + kRowsTogether <= end; row += kRowsTogether)
    forward_rows<T, kStream, kRowsTogether>(job, row);
  for (; row < end; ++row) forward_rows<T, kStream, 1>(job, row);
  if constexpr (kStream) streaming_done();
}

using Block = void (*)(const LayerNorm&, int64_t, int64_t);

}  // namespace

void layer_norm_forward_cpu(const LayerNorm& job) noexcept {
  const int threads = threads_for(job);
  const int64_t block_rows = (kSerialElements / job.n_columns / kRowsTogether + 1) * kRowsTogether;
  const int64_t n_blocks = (job.n_rows + block_rows - 1) / block_rows;
  const bool stream = streams(job, job.output);
  const Block forward =
      job.is_bfloat16 ? (stream ? forward_block<bfloat16, true> : forward_block<bfloat16, false>)
                      : (stream ? forward_block<float, true> : forward_block<float, false>);
  (void)threads;  // unused without OpenMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
  for (int64_t block = 0; block < n_blocks; ++block) forward(job, block, block_rows);
}

void layer_norm_backward_cpu(const LayerNorm& job) noexcept {
  const int threads = threads_for(job);
  const int64_t block_rows = layer_norm_block_rows(job.n_rows, job.n_columns);
  const int64_t n_blocks = layer_norm_blocks(job.n_rows, job.n_columns);
  const bool stream = job.dinput && streams(job, job.dinput);
  const Block backward =
      job.is_bfloat16 ? (stream ? backward_block<bfloat16, true> : backward_block<bfloat16, false>)
                      : (stream ? backward_block<float, true> : backward_block<float, false>);
  (void)threads;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
#pragma omp for schedule(dynamic, 1)
    for (int64_t block = 0; block < n_blocks; ++block) backward(job, block, block_rows);
#pragma omp for schedule(static)
    for (int64_t first = 0; first < job.n_columns; first += kColumnsTogether)
      add_blocks(job, n_blocks, first);
  }
}

}  // namespace groundup::GROUNDUP_ISA
