// The two sweeps of a group of threads over one row of logits: `scan` finds its largest logit, the
// sum of exponentials and what label smoothing needs; `write_gradient` turns the row into its
// gradient. A group is a warp, or a whole block for long rows.
#pragma once

#include <math_constants.h>

#include "cross_entropy.cuh"

namespace groundup {
namespace {

constexpr float kLog2E = 1.4426950408889634f;

// Vectors a thread asks for before it uses the first. The flags' arithmetic, unrolled as often,
// would take more registers than it hides latency.
template <bool kPlain>
constexpr int kInFlight = kPlain ? 4 : 1;

// exp(x) for x <= 0: one rounding of the argument and the hardware's exponential, as eager's
// log-probabilities are rounded once.
__device__ inline float exp_softmax(float x) { return exp2f(x * kLog2E); }

// A row's logits relative to the largest so far. Sums are relative to shift_of(largest).
struct Scan {
  float largest, sum;
  float smooth, weight;  // sums of weight * (logit - shift) and of weight
};

// Nothing, or -inf alone, was seen: 0 may then be taken off without making NaN of it.
__device__ inline float shift_of(float largest) {
  return largest == -CUDART_INF_F ? 0.0f : largest;
}

__device__ inline void raise(Scan& scan, float largest) {
  if (scan.largest == largest) return;
  const float by = shift_of(largest) - shift_of(scan.largest);
  if (scan.largest != -CUDART_INF_F) scan.sum *= exp_softmax(-by);
  scan.smooth -= scan.weight * by;
  scan.largest = largest;
}

__device__ inline Scan merge(Scan a, Scan b) {
  const float largest = fmaxf(a.largest, b.largest);
  raise(a, largest);
  raise(b, largest);
  return {largest, a.sum + b.sum, a.smooth + b.smooth, a.weight + b.weight};
}

__device__ inline Scan shuffle(Scan scan, int lane) {
  constexpr unsigned kAll = 0xffffffffu;
  return {__shfl_sync(kAll, scan.largest, lane), __shfl_sync(kAll, scan.sum, lane),
          __shfl_sync(kAll, scan.smooth, lane), __shfl_sync(kAll, scan.weight, lane)};
}

// Of a warp, in an order of its own; the same bits in every lane, which a butterfly alone does not
// promise: merge(a, b) and merge(b, a) may contract differently.
__device__ inline Scan merge_warp(Scan scan) {
  const int lane = threadIdx.x % kWarp;
  for (int step = kWarp / 2; step > 0; step /= 2) scan = merge(scan, shuffle(scan, lane ^ step));
  return shuffle(scan, 0);
}

template <int kGroup>
__device__ inline void sync_group() {
  if constexpr (kGroup == kWarp)
    __syncwarp();
  else
    __syncthreads();
}

template <int kGroup>
__device__ Scan merge_group(Scan scan) {
  scan = merge_warp(scan);
  if constexpr (kGroup > kWarp) {
    __shared__ Scan of_warp[kGroup / kWarp];
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = scan;
    __syncthreads();
    constexpr int kWarps = kGroup / kWarp;
    const int lane = threadIdx.x % kWarp;
    scan = lane < kWarps ? of_warp[lane] : Scan{-CUDART_INF_F, 0, 0, 0};
    // Before the next row's scans are put there.
    __syncthreads();
    scan = merge_warp(scan);
  }
  return scan;
}

__device__ inline float capped(float x, float softcap) { return softcap * tanhf(x / softcap); }

// body(values, count, first) for the logits of a row, 16 bytes at a time where they lie so, and
// one by one at the ends; `values` is an array of `count` in registers. `lane` is the thread's
// number in its group.
template <class T, int kGroup, int kInFlight, class Body>
__device__ inline void sweep(const T* row, int n, int lane, bool vectors, Body body) {
  using V = Vector<T>;
  const int head = vectors ? head_of(row, n) : n;
  for (int c = lane; c < head; c += kGroup) {
    const float one[1] = {to_float(row[c])};
    body(one, c);
  }
  const int n_vectors = (n - head) / V::kSize;
  const V* const at = reinterpret_cast<const V*>(row + head);
  int v = lane;
  for (; kInFlight > 1 && v + (kInFlight - 1) * kGroup < n_vectors; v += kInFlight * kGroup) {
    V loaded[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) loaded[k] = at[v + k * kGroup];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      float values[V::kSize];
#pragma unroll
      for (int i = 0; i < V::kSize; ++i) values[i] = to_float(loaded[k].of[i]);
      body(values, head + (v + k * kGroup) * V::kSize);
    }
  }
  for (; v < n_vectors; v += kGroup) {
    const V loaded = at[v];
    float values[V::kSize];
#pragma unroll
    for (int i = 0; i < V::kSize; ++i) values[i] = to_float(loaded.of[i]);
    body(values, head + v * V::kSize);
  }
  for (int c = head + n_vectors * V::kSize + lane; c < n; c += kGroup) {
    const float one[1] = {to_float(row[c])};
    body(one, c);
  }
}

// kPlain: neither softcap nor label smoothing.
template <class T, int kGroup, bool kPlain>
__device__ Scan scan_row(const CrossEntropyCuda& job, const T* row, int lane) {
  Scan scan{-CUDART_INF_F, 0, 0, 0};
  sweep<T, kGroup, kInFlight<kPlain>>(
      row, job.n_classes, lane, true, [&](const auto& values, int first) {
        constexpr int kCount = sizeof(values) / sizeof(float);
        float x[kCount];
        float largest = scan.largest;  // fmaxf passes over NaN, and the sum catches it
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          x[i] = kPlain || job.softcap == 0 ? values[i] : capped(values[i], job.softcap);
          largest = fmaxf(largest, x[i]);
        }
        raise(scan, largest);
        const float shift = shift_of(largest);
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          const float relative = x[i] - shift;
          scan.sum += exp_softmax(relative);
          if constexpr (!kPlain) {
            const float weight = job.weight ? job.weight[first + i] : 1.0f;
            scan.smooth += weight * relative;
            scan.weight += weight;
          }
        }
      });
  scan = merge_group<kGroup>(scan);
  // Every logit -inf: 0 / 0 in the softmax.
  if (scan.largest == -CUDART_INF_F) scan.sum = scan.smooth = CUDART_NAN_F;
  return scan;
}

// dlogits = (scale * exp(logit - largest) - smooth * weight) * slope, but `at_target` there.
struct Gradient {
  float largest, scale, smooth, at_target;
  int target;
};

// `row` may be `out`: each element is read before it is written, by the same thread.
template <class T, int kGroup, bool kPlain>
__device__ void write_gradient(const CrossEntropyCuda& job, const Gradient& g, const T* row, T* out,
                               int lane) {
  sweep<T, kGroup, kInFlight<kPlain>>(
      row, job.n_classes, lane, job.vectors, [&](const auto& values, int first) {
        constexpr int kCount = sizeof(values) / sizeof(float);
        float d[kCount];
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          if constexpr (kPlain) {
            d[i] = g.scale * exp_softmax(values[i] - g.largest);
          } else {
            float y = values[i], slope = 1;
            if (job.softcap != 0) {
              const float t = tanhf(y / job.softcap);
              y = job.softcap * t;
              slope = 1 - t * t;
            }
            d[i] = g.scale * exp_softmax(y - g.largest);
            if (g.smooth != 0) d[i] -= g.smooth * (job.weight ? job.weight[first + i] : 1.0f);
            d[i] *= slope;
          }
          if (first + i == g.target) d[i] = g.at_target;
        }
        if constexpr (kCount == 1) {
          from_float(d[0], out[first]);
        } else {
          Vector<T> vector;
#pragma unroll
          for (int i = 0; i < kCount; ++i) from_float(d[i], vector.of[i]);
          *reinterpret_cast<Vector<T>*>(out + first) = vector;
        }
      });
}

template <class T, int kGroup>
__device__ void fill(T* out, int n, int lane, float value) {
  T filled;
  from_float(value, filled);
  for (int c = lane; c < n; c += kGroup) out[c] = filled;
}

}  // namespace
}  // namespace groundup
