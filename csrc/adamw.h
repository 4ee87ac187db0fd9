// One AdamW step over all parameters. Derivation: docs/adamw.md.
#pragma once

#include <stdint.h>

#include "isa.h"

namespace groundup {

// What the parameters of one group share.
struct AdamWGroup {
  double lr, beta1, beta2, eps, weight_decay;
  double maximize;  // 0 or 1
};

// One tensor of each column makes a parameter; the four or five have one memory layout, dense and
// without overlap, so that element i of each belongs to element i of the others.
enum AdamWColumn : int { kParam, kGrad, kExpAvg, kExpAvgSq, kMaxExpAvgSq, kStep, kAdamWColumns };

enum AdamWKind : int64_t { kParamIsBfloat16 = 1, kStateIsBfloat16 = 2, kAmsgrad = 4 };

// A tensor's coefficients at its own step.
struct AdamWCoefficients {
  float decay;         // 1 - lr * weight_decay
  float beta1, rest1;  // rest = 1 - beta
  float beta2, rest2;
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
  float eps;
  float step_size;  // lr / (1 - beta1^t)
  float sign;       // -1 where the objective is maximized
};

static inline AdamWCoefficients adamw_coefficients(const AdamWGroup& g, double step) noexcept {
  const double correction1 = 1 - __builtin_pow(g.beta1, step);
  const double correction2 = 1 - __builtin_pow(g.beta2, step);
  return {(float)(1 - g.lr * g.weight_decay),
          (float)g.beta1,
          (float)(1 - g.beta1),
          (float)g.beta2,
          (float)(1 - g.beta2),
          (float)(1 / __builtin_sqrt(correction2)),
          (float)g.eps,
          (float)(g.lr / correction1),
          g.maximize != 0 ? -1.0f : 1.0f};
}

struct AdamW {
  int64_t n_tensors;
  void* const* pointers;  // (kAdamWColumns, n_tensors); kStep points to a float, which is advanced
  const int64_t* sizes;   // (n_tensors,) elements
  const int64_t* kinds;   // (n_tensors,) AdamWKind bits: gradients have the parameter's dtype
  const int64_t* groups_of;  // (n_tensors,)
  const AdamWGroup* groups;
  double max_grad_norm;  // 0: no clipping
  bool write_grads;      // leave the clipped gradients behind

  // Scratch.
  int64_t* starts;                  // (n_tensors + 1,)
  AdamWCoefficients* coefficients;  // (n_tensors,)
  double* square_sums;              // (adamw_chunks(...),) with clipping, else unused
};

// Work is dealt out in chunks of elements, laid over the tensors end to end, each tensor padded to
// kAdamWPad: a chunk ends inside a tensor only where every instruction set ends a vector, so that
// chunks, and with them threads, change no result.
constexpr int64_t kAdamWPad = 64, kAdamWChunk = 32768;

static inline int64_t adamw_padded(int64_t size) {
  return (size + kAdamWPad - 1) / kAdamWPad * kAdamWPad;
}
static inline int64_t adamw_chunks(const int64_t* sizes, int64_t n_tensors) {
  int64_t total = 0;
  for (int64_t t = 0; t < n_tensors; ++t) total += adamw_padded(sizes[t]);
  return (total + kAdamWChunk - 1) / kAdamWChunk;
}

// Returns the norm of all gradients before clipping; 0 without clipping.
#define GROUNDUP_DECLARE(isa)                       \
  namespace isa {                                   \
  double adamw_step_cpu(const AdamW& job) noexcept; \
  }
GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
#undef GROUNDUP_DECLARE

}  // namespace groundup
