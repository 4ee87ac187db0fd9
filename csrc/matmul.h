// C = A B in float32, and what a linear layer wants done beside it. Derivation: docs/linear.md.
#pragma once

#include <stdint.h>

#include "isa.h"

namespace groundup {

// Floats as (rows, columns), each with a stride of its own, in elements; 0 and less are strides.
struct Matrix {
  const float* values;
  int64_t row_stride, column_stride;
};

enum class Activation : int { none, gelu, gelu_tanh };

struct Matmul {
  int64_t m, n, k;
  Matrix a;  // (m, k)
  Matrix b;  // (k, n)
  float* c;  // (m, n), columns adjacent; shares no memory with a and b
  int64_t c_row_stride;
  bool accumulate;  // C += AB

  const float* bias;  // (n,), added to every row, or null
  Activation activation;
  float*
      activated;  // (m, n) with c's strides, c itself if C is not wanted; null without activation

  // Sums over k, of each row of A, (m,), or each column of B, (n,); null where not wanted. The
  // elements are at hand while they are packed.
  float* a_sums;
  float* b_sums;

  int n_threads;
  float* space;  // matmul_space(*this) floats, on a cache line
};

// A few megabytes and a part of one for each thread, however large the matrices.
int64_t matmul_space(const Matmul& job) noexcept;

// The bits do not depend on the number of threads.
#define GROUNDUP_DECLARE(isa)                  \
  namespace isa {                              \
  void matmul_cpu(const Matmul& job) noexcept; \
  }
GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
#undef GROUNDUP_DECLARE

}  // namespace groundup
