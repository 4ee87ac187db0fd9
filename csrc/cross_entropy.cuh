// Cross-entropy over rows of logits on a CUDA device. Derivation: docs/cross_entropy.md.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include "cross_entropy.h"  // Reduction
#include "launch.cuh"

namespace groundup {

// Sums over rows, combined in an order that depends on the number of rows alone.
struct CrossEntropyTotals {
  double loss, weight;  // of the losses; of the live targets' weights
  int64_t live;         // rows not left out
  int64_t bad_row;      // the first live row whose target is no class, or kNoRow
};

constexpr int64_t kNoRow = INT64_MAX;
constexpr int kMostPartials = 256;

// Where the first bad target is reported: pinned host memory, so that the host sees it without
// waiting for the device. `row` is that row + 1, written last; 0: none so far.
struct CrossEntropyFlag {
  int64_t row, target;
};

// After the two floats of each row, `statistics` holds what the whole call shares.
enum CrossEntropyShared : int { kDenominator, kZDivisor, kWeightSum, kCrossEntropyShared };

struct CrossEntropyCuda {
  void* logits;  // (n_rows, n_classes); in place: overwritten by dlogits
  Dtype dtype;
  int64_t n_rows;
  int n_classes;
  int64_t row_stride;     // in elements; the classes of a row are adjacent
  const int64_t* target;  // (n_rows,), in [0, n_classes) or ignore_index
  const float* weight;    // (n_classes,) or null
  int64_t ignore_index;
  Reduction reduction;
  float label_smoothing, lse_square_scale;
  float softcap;  // 0: none

  float* loss;        // (n_rows,) for none, else one number
  float* statistics;  // (2 * n_rows + 3,): per row its largest logit and log(sum(exp(logit -
                      // largest))), then CrossEntropyShared
  // Scratch of forward and in place.
  CrossEntropyTotals* partials;  // (1 + kMostPartials,): the first are the totals
  double* row_loss;              // (n_rows,), unused for none
  CrossEntropyFlag* flag;

  // Backward.
  const float* dloss;  // (n_rows,) for none, else one number
  void* dlogits;       // as logits, apart from its row stride
  int64_t dlogits_row_stride;
  bool vectors;  // a row of logits and its gradient lie alike on 16-byte boundaries
};

inline int64_t cross_entropy_scratch(int64_t n_rows) {  // bytes
  return static_cast<int64_t>(sizeof(CrossEntropyTotals)) * (1 + kMostPartials) +
         static_cast<int64_t>(sizeof(double)) * n_rows;
}

// Each enqueues its work and returns. A row whose live target is no class is never read outside:
// its loss and gradient are NaN, and the flag is raised.
void cross_entropy_forward_cuda(const CrossEntropyCuda& job, cudaStream_t stream);
void cross_entropy_backward_cuda(const CrossEntropyCuda& job, cudaStream_t stream);
// Computes the loss and replaces the logits by its gradient (dloss = 1).
void cross_entropy_inplace_cuda(const CrossEntropyCuda& job, cudaStream_t stream);
// dlogits *= dloss by rows, of which none is touched whose dloss is 1.
void cross_entropy_scale_cuda(const CrossEntropyCuda& job, cudaStream_t stream);

}  // namespace groundup
