// gelu and its gradient, elementwise over adjacent memory. Derivation: docs/gelu.md.
#pragma once

#include <stdint.h>

#include "isa.h"

namespace groundup {

struct Gelu {
  const void* input;  // (n,), float or bfloat16
  bool is_bfloat16;
  bool is_tanh;  // the approximation, else exact
  int64_t n;
  const void* doutput;  // backward; as input
  void* output;         // forward: gelu(input); backward: doutput * gelu'(input)
};

#define GROUNDUP_DECLARE(isa)                       \
  namespace isa {                                   \
  void gelu_forward_cpu(const Gelu& job) noexcept;  \
  void gelu_backward_cpu(const Gelu& job) noexcept; \
  }
GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
#undef GROUNDUP_DECLARE

}  // namespace groundup
