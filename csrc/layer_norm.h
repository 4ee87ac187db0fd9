// Layer normalization of rows, forward and backward. Derivation: docs/layer_norm.md.
#pragma once

#include <stdint.h>

#include "isa.h"

namespace groundup {

struct LayerNorm {
  const void* input;  // (n_rows, n_columns), float or bfloat16; the columns of a row are adjacent
  bool is_bfloat16;
  int64_t n_rows, n_columns;
  int64_t row_stride;   // in elements
  const float* weight;  // (n_columns,) or null, which is 1
  const float* bias;    // (n_columns,) or null
  double eps;

  // Or null. With it the rows normalized are input + residual, which forward leaves in `sum`; to
  // backward that sum is the input.
  const void* residual;  // as input
  int64_t residual_row_stride;
  void* sum;  // as input, contiguous

  void* output;       // as input, contiguous
  float* statistics;  // (n_rows, 2): mean, 1 / sqrt(variance + eps); forward writes, backward reads

  // Backward; dinput, or both sums, may be null where they are not wanted.
  const void* doutput;  // as input
  int64_t doutput_row_stride;
  const void* dsum;  // as input, or null: a gradient of the input from elsewhere, added to dinput
  int64_t dsum_row_stride;
  void* dinput;    // as input, contiguous
  float* dweight;  // (n_columns,)
  float* dbias;    // (n_columns,)
  float* sums;     // (layer_norm_blocks(...), 2, n_columns) scratch, with dweight or dbias
};

// dweight and dbias are summed within blocks of rows and then over blocks, in order. The blocks
// follow from the sizes alone, so the sums do not depend on the number of threads; 16 rows at least
// keep the scratch at an eighth of the input, and 16,384 elements make clearing it worth it.
static inline int64_t layer_norm_block_rows(int64_t n_rows, int64_t n_columns) {
  const int64_t even = (n_rows + 63) / 64, worth_it = (16384 + n_columns - 1) / n_columns;
  const int64_t rows = even < worth_it ? worth_it : even;
  return rows < 16 ? 16 : rows;
}
static inline int64_t layer_norm_blocks(int64_t n_rows, int64_t n_columns) {
  const int64_t rows = layer_norm_block_rows(n_rows, n_columns);
  return (n_rows + rows - 1) / rows;
}

#define GROUNDUP_DECLARE(isa)                              \
  namespace isa {                                          \
  void layer_norm_forward_cpu(const LayerNorm&) noexcept;  \
  void layer_norm_backward_cpu(const LayerNorm&) noexcept; \
  }
GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
#undef GROUNDUP_DECLARE

}  // namespace groundup
