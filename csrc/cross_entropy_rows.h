// The two sweeps over one row of logits: `scan` finds its largest logit, the sum of exponentials
// and what label smoothing needs; `write_gradient` and `scale_kept` turn the row into its gradient.
//
// A row is worked on in blocks that fit in L1. Within a block the largest logit is found first and
// the exponentials are summed after, relative to the largest of the row so far: each logit comes
// from memory once, and one exponential is taken of it.
#pragma once

#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

enum class Smoothing { none, uniform, weighted };

constexpr float kInfinity = __builtin_inff();
constexpr int kUnroll = 4;  // independent accumulators: a sum or maximum waits for none of them
constexpr int64_t kBlock = 2048;
constexpr int64_t kShortRow = 512;
constexpr int kCacheLine = 64;
constexpr int kMaxBlocks = 128;

// What a row keeps between its sweeps: `shift` is the finite number that was taken off its logits,
// except that largest is the true one, infinities included.
struct RowStats {
  float largest;
  double sum;     // of exp(logit - largest); NaN where torch's loss is
  double smooth;  // sum over classes of weight * (logit - largest)
};

struct Cap {
  float size, inverse;
};

struct Logit {
  vfloat value, slope;  // d value / d input
};

template <bool kCapped>
GROUNDUP_INLINE Logit logit_of(vfloat x, Cap cap) {
  if constexpr (!kCapped) return {x, splat(1.0f)};
  const vfloat t = tanh(x * cap.inverse);
  return {rounded(t * cap.size), 1.0f - t * t};
}

GROUNDUP_INLINE vfloat first_lanes(vfloat x, Full) { return x; }
GROUNDUP_INLINE vfloat first_lanes(vfloat x, First lanes) {
  vint index;
  for (int i = 0; i < kLanes; ++i) index[i] = i;
  return select(index < lanes.n, x, vfloat{});
}

// Elements before the first vector boundary; 0 for a short row, where a partial vector more costs
// what alignment saves.
template <class T>
GROUNDUP_INLINE int64_t head_of(const T* p, int64_t n) {
  if (n < kShortRow) return 0;
  constexpr uintptr_t bytes = kLanes * sizeof(T);
  const uintptr_t past = (uintptr_t)p % bytes;
  if (past == 0 || past % sizeof(T) != 0) return 0;
  return (int64_t)((bytes - past) / sizeof(T));
}

// body(i, lanes, k) for vectors at i in [begin, end), a partial one of `head` elements first; k
// numbers the accumulator.
template <class Body>
GROUNDUP_INLINE void sweep(int64_t begin, int64_t end, int64_t head, Body body) {
  int64_t i = begin;
  if (head > 0) body(i, First{(int)head}, 0);
  for (i += head; i + kUnroll * kLanes <= end; i += kUnroll * kLanes) {
#pragma GCC unroll 4
    for (int k = 0; k < kUnroll; ++k) body(i + k * kLanes, Full{}, k);
  }
  for (; i + kLanes <= end; i += kLanes) body(i, Full{}, 0);
  if (i < end) body(i, First{(int)(end - i)}, 0);
}

GROUNDUP_INLINE double sum_of(const vfloat (&parts)[kUnroll]) {
  return sum((parts[0] + parts[1]) + (parts[2] + parts[3]));
}

// Blocks of a row; the first is longer by `head`, so that the others begin on a vector boundary.
struct Blocks {
  int64_t n, head, size;

  template <class T>
  Blocks(const T* row, int64_t n) : n(n), head(head_of(row, n)), size(kBlock) {
    while (size * kMaxBlocks < n) size *= 2;
  }
  int64_t end_of(int64_t begin) const {
    const int64_t end = begin + size + (begin == 0 ? head : 0);
    return end < n ? end : n;
  }
  int64_t head_at(int64_t begin) const { return begin == 0 ? head : 0; }
};

#define GROUNDUP_BODY [&](int64_t i, auto lanes, int k) __attribute__((always_inline))

// With kKeep, kept[i] becomes exp(logit - shifts[its block]); `kept` may be the row itself.
template <class T, Smoothing kSmoothing, bool kCapped, bool kKeep>
RowStats scan(const T* row, int64_t n, const float* weight, Cap cap, float* kept, float* shifts) {
  const Blocks blocks(row, n);
  float largest_input = -kInfinity, shift = 0;
  double total = 0, smooth = 0, weight_seen = 0;
  for (int64_t begin = 0, end, block = 0; begin < n; begin = end, ++block) {
    end = blocks.end_of(begin);
    const int64_t head = blocks.head_at(begin);

    vfloat high[kUnroll];
    for (vfloat& part : high) part = splat(-kInfinity);
    // A NaN is passed over here and caught by the sum.
    sweep(
        begin, end, head,
        GROUNDUP_BODY { high[k] = max(load(row + i, lanes, splat(-kInfinity)), high[k]); });
    const float highest = largest(max(max(high[0], high[1]), max(high[2], high[3])));
    // A cap makes -inf finite too.
    if (highest > largest_input || (kCapped && begin == 0)) {
      // Capping is monotonic: the largest input is the largest logit.
      const float fresh = logit_of<kCapped>(splat(highest), cap).value[0];
      if (total != 0) total *= __builtin_exp((double)shift - fresh);
      smooth -= weight_seen * ((double)fresh - shift);
      largest_input = highest;
      shift = fresh;
    }

    vfloat sums[kUnroll] = {}, smooths[kUnroll] = {}, weights[kUnroll] = {};
    sweep(
        begin, end, head, GROUNDUP_BODY {
          if (k * kLanes * sizeof(T) % kCacheLine == 0) __builtin_prefetch(row + i + blocks.size);
          const vfloat x = logit_of<kCapped>(load(row + i, lanes), cap).value - shift;
          const vfloat e = first_lanes(exp_softmax(x), lanes);
          sums[k] += e;
          if constexpr (kSmoothing == Smoothing::uniform) smooths[k] += first_lanes(x, lanes);
          if constexpr (kSmoothing == Smoothing::weighted) {
            const vfloat w = load(weight + i, lanes);
            smooths[k] += first_lanes(w * x, lanes);
            weights[k] += w;
          }
          if constexpr (kKeep) store(kept + i, e, lanes);
        });
    total += sum_of(sums);
    if constexpr (kSmoothing != Smoothing::none) smooth += sum_of(smooths);
    weight_seen += kSmoothing == Smoothing::weighted ? sum_of(weights) : (double)(end - begin);
    if constexpr (kKeep) shifts[block] = shift;
  }
  // Every logit -inf: 0 / 0 in the softmax.
  if (!kCapped && largest_input == -kInfinity)
    return {-kInfinity, __builtin_nan(""), __builtin_nan("")};
  return {shift, total, smooth};
}

// dlogits = (scale * exp(logit - largest) - offset * weight) * slope. `row` may be `out`, not
// with kStream, which needs `out` aligned to its elements.
template <class T, Smoothing kSmoothing, bool kCapped, bool kStream>
void write_gradient(const T* row, T* out, int64_t n, const float* weight, Cap cap, float largest,
                    float scale, float offset) {
  sweep(
      0, n, head_of(out, n), GROUNDUP_BODY {
        (void)k;
        const Logit logit = logit_of<kCapped>(load(row + i, lanes), cap);
        vfloat g = exp_softmax(logit.value - largest) * scale;
        if constexpr (kSmoothing == Smoothing::uniform) g -= offset;
        if constexpr (kSmoothing == Smoothing::weighted) g -= load(weight + i, lanes) * offset;
        if constexpr (kCapped) g *= logit.slope;
        if constexpr (kStream)
          store_streaming(out + i, g, lanes);
        else
          store(out + i, g, lanes);
      });
  if constexpr (kStream) streaming_done();
}

// The same for a row whose exponentials `scan` kept. `kept` may be `out`.
template <class T, Smoothing kSmoothing>
void scale_kept(const float* kept, T* out, int64_t n, const float* weight, const float* shifts,
                float largest, double scale, float offset) {
  const Blocks blocks(out, n);
  for (int64_t begin = 0, end, block = 0; begin < n; begin = end, ++block) {
    end = blocks.end_of(begin);
    const float factor =
        shifts[block] == largest
            ? (float)scale
            : (float)(scale * __builtin_exp((double)shifts[block] - (double)largest));
    sweep(
        begin, end, blocks.head_at(begin), GROUNDUP_BODY {
          (void)k;
          vfloat g = load(kept + i, lanes) * factor;
          if constexpr (kSmoothing == Smoothing::uniform) g -= offset;
          if constexpr (kSmoothing == Smoothing::weighted) g -= load(weight + i, lanes) * offset;
          store(out + i, g, lanes);
        });
  }
}

#undef GROUNDUP_BODY

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
