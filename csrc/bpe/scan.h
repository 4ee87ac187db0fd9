// The scanners behind split.h, once per instruction set.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "bpe/split.h"
#include "isa.h"

namespace groundup {

#define GROUNDUP_DECLARE(isa)                                                               \
  namespace isa {                                                                           \
  size_t scan(bpe::Pattern pattern, const uint8_t* text, size_t at, size_t n, size_t* ends, \
              size_t capacity) noexcept;                                                    \
  }
GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
#undef GROUNDUP_DECLARE

}  // namespace groundup
