// The step and the norm before it, over chunks that span tensors. Derivation: docs/adamw.md.
#include "adamw.h"

#include "parallel.h"
#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

constexpr int64_t kSerialElements = 32768;

// body(i, lanes) for the vectors of [begin, end). Only the last may be partial.
template <class Body>
GROUNDUP_INLINE void sweep(int64_t begin, int64_t end, Body body) {
  int64_t i = begin;
#pragma GCC unroll 2
  for (; i + kLanes <= end; i += kLanes) body(i, Full{});
  if (i < end) body(i, First{(int)(end - i)});
}

// An element's square may overflow where its norm does not matter any more: torch's does, too.
template <class T>
double square_sum(const T* grad, int64_t begin, int64_t end) {
  constexpr int64_t kBlock = 4096;  // short enough for float accumulators
  double total = 0;
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t stop = block + kBlock < end ? block + kBlock : end;
    vfloat sums[4] = {};
    int64_t i = block;
    for (; i + 4 * kLanes <= stop; i += 4 * kLanes) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const vfloat g = load(grad + i + k * kLanes, Full{});
        sums[k] += g * g;
      }
    }
    sweep(i, stop, [&](int64_t at, auto lanes) __attribute__((always_inline)) {
      const vfloat g = load(grad + at, lanes);
      sums[0] += g * g;
    });
    total += sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
  return total;
}

struct Pointers {
  void *param, *grad, *exp_avg, *exp_avg_sq, *max_exp_avg_sq;
};

// (rest2 * g) * g and not rest2 * (g * g): the square alone may overflow.
template <class T, class S, bool kAmsgrad>
void update(const Pointers& at, int64_t begin, int64_t end, const AdamWCoefficients& c, float clip,
            bool write_grads) {
  T *param = (T*)at.param, *grad = (T*)at.grad;
  S *exp_avg = (S*)at.exp_avg, *exp_avg_sq = (S*)at.exp_avg_sq, *largest = (S*)at.max_exp_avg_sq;
  sweep(begin, end, [&](int64_t i, auto lanes) __attribute__((always_inline)) {
    vfloat g = load(grad + i, lanes) * clip;
    if (write_grads) store(grad + i, g, lanes);
    g *= c.sign;
    // Not beta1 * m + rest1 * g: rounded, the two do not add up to 1, and the average drifts.
    const vfloat old = load(exp_avg + i, lanes);
    const vfloat way = g - old;
    const vfloat m = c.rest1 < 0.5f ? old + way * c.rest1 : g - way * c.beta1;
    const vfloat v = load(exp_avg_sq + i, lanes) * c.beta2 + (g * c.rest2) * g;
    store(exp_avg + i, m, lanes);
    store(exp_avg_sq + i, v, lanes);
    vfloat second = v;
    if constexpr (kAmsgrad) {
      second = max(load(largest + i, lanes), v);
      store(largest + i, second, lanes);
    }
    const vfloat denominator = sqrt(second) * c.inverse_root + c.eps;
    const vfloat p = load(param + i, lanes) * c.decay;
    store(param + i, p - (m * c.step_size) / denominator, lanes);
  });
}

using Update = void (*)(const Pointers&, int64_t, int64_t, const AdamWCoefficients&, float, bool);

Update update_of(int64_t kind) {
  static constexpr Update table[8] = {
      update<float, float, false>,    update<bfloat16, float, false>,
      update<float, bfloat16, false>, update<bfloat16, bfloat16, false>,
      update<float, float, true>,     update<bfloat16, float, true>,
      update<float, bfloat16, true>,  update<bfloat16, bfloat16, true>,
  };
  return table[kind & 7];
}

// The tensor whose padded elements hold `position`: starts[t] <= position < starts[t + 1].
int64_t tensor_at(const AdamW& job, int64_t position) {
  int64_t low = 0, high = job.n_tensors;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (job.starts[middle] <= position ? low : high) = middle;
  }
  return low;
}

// body(tensor, begin, end) for the parts of tensors in the chunk.
template <class Body>
GROUNDUP_INLINE void each_part(const AdamW& job, int64_t chunk, Body body) {
  const int64_t from = chunk * kAdamWChunk, to = from + kAdamWChunk;
  for (int64_t t = tensor_at(job, from); t < job.n_tensors && job.starts[t] < to; ++t) {
    const int64_t start = job.starts[t];
    const int64_t begin = from > start ? from - start : 0;
    const int64_t end = to - start < job.sizes[t] ? to - start : job.sizes[t];
    if (begin < end) body(t, begin, end);
  }
}

void* at(const AdamW& job, int column, int64_t tensor) {
  return job.pointers[column * job.n_tensors + tensor];
}

// Steps are counted per tensor, since one without a gradient is left out; most agree.
void prepare(const AdamW& job) {
  int64_t start = 0;
  for (int64_t t = 0; t < job.n_tensors; ++t) {
    job.starts[t] = start;
    start += adamw_padded(job.sizes[t]);
    float* const step = (float*)at(job, kStep, t);
    *step += 1;
    if (t > 0 && job.groups_of[t] == job.groups_of[t - 1] &&
        *step == *(const float*)at(job, kStep, t - 1)) {
      job.coefficients[t] = job.coefficients[t - 1];
      continue;
    }
    job.coefficients[t] = adamw_coefficients(job.groups[job.groups_of[t]], *step);
  }
  job.starts[job.n_tensors] = start;
}

// Sums of chunks are added in order: the norm does not depend on the number of threads.
double norm_of_grads(const AdamW& job, int64_t n_chunks, int threads) {
  (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
    double total = 0;
    each_part(job, chunk, [&](int64_t t, int64_t begin, int64_t end) {
      const void* grad = at(job, kGrad, t);
      total += job.kinds[t] & kParamIsBfloat16 ? square_sum((const bfloat16*)grad, begin, end)
                                               : square_sum((const float*)grad, begin, end);
    });
    job.square_sums[chunk] = total;
  }
  double total = 0;
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk) total += job.square_sums[chunk];
  return __builtin_sqrt(total);
}

}  // namespace

double adamw_step_cpu(const AdamW& job) noexcept {
  prepare(job);
  const int64_t total = job.starts[job.n_tensors];
  const int64_t n_chunks = (total + kAdamWChunk - 1) / kAdamWChunk;
  const int threads = total < kSerialElements ? 1 : usable_threads();
  double norm = 0;
  float clip = 1;
  if (job.max_grad_norm > 0) {
    norm = norm_of_grads(job, n_chunks, threads);
    const double ratio = job.max_grad_norm / (norm + 1e-6);
    clip = ratio > 1 ? 1.0f : (float)ratio;  // NaN stays NaN
  }
  const bool write_grads = job.write_grads && clip != 1.0f;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk)
    each_part(job, chunk, [&](int64_t t, int64_t begin, int64_t end) {
      const Pointers pointers{at(job, kParam, t), at(job, kGrad, t), at(job, kExpAvg, t),
                              at(job, kExpAvgSq, t), at(job, kMaxExpAvgSq, t)};
      update_of(job.kinds[t])(pointers, begin, end, job.coefficients[t], clip, write_grads);
    });
  return norm;
}

}  // namespace groundup::GROUNDUP_ISA
