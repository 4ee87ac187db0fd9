// Cross-entropy over rows of logits, forward and backward. Derivation: docs/cross_entropy.md.
#pragma once

#include <stdint.h>

#include "isa.h"

namespace groundup {

enum class Reduction { none, mean, sum };

struct CrossEntropy {
  const void* logits;  // (n_rows, n_classes), float or bfloat16; in place: overwritten by dlogits
  bool is_bfloat16;
  int64_t n_rows, n_classes;
  int64_t row_stride;     // in elements; the classes of a row are adjacent
  const int64_t* target;  // (n_rows,), in [0, n_classes) or ignore_index
  const float* weight;    // (n_classes,) or null
  int64_t ignore_index;
  Reduction reduction;
  double label_smoothing;   // [0, 1]
  double lse_square_scale;  // adds scale * lse^2 to each live row
  double softcap;           // logits become softcap * tanh(logits / softcap); 0: as they are
  int n_threads;            // at most

  float* loss;  // (n_rows,) for none, else one number
  // What backward needs; forward and in place also take null, for one that never comes.
  float* lse;          // (n_rows, 2): largest logit, log(sum(exp(logit - largest)))
  float* denominator;  // the sum of the live targets' weights for mean, else 1
  double* row_loss;    // (n_rows,) scratch of forward and in place; unused for none

  float* space;  // in place of bfloat16: n_threads * cross_entropy_space(n_classes) scratch

  // Backward.
  const float* dloss;  // (n_rows,) for none, else one number
  void* dlogits;       // as logits, apart from its row stride
  int64_t dlogits_row_stride;
};

// Floats for the exponentials of one row, with room to choose their alignment.
static inline int64_t cross_entropy_space(int64_t n_classes) noexcept { return n_classes + 32; }

// Forward and in place return the first row whose live target is not a class, having written
// nothing, or -1. In place computes the loss and replaces the logits by its gradient (dloss = 1).
#define GROUNDUP_DECLARE(isa)                                          \
  namespace isa {                                                      \
  int64_t cross_entropy_forward_cpu(const CrossEntropy& job) noexcept; \
  void cross_entropy_backward_cpu(const CrossEntropy& job) noexcept;   \
  int64_t cross_entropy_inplace_cpu(const CrossEntropy& job) noexcept; \
  }
GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
#undef GROUNDUP_DECLARE

}  // namespace groundup
