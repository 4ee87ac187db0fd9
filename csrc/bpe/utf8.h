// UTF-8 to the two bytes a character that Python keeps of most scripts, once per instruction set.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "isa.h"

namespace groundup {

// Writes the characters of bytes[0, n) to `out`, which has room for n, and returns how many they
// are. kNotWide where the bytes are not valid UTF-8, have a character beyond U+FFFF or none beyond
// U+00FF, and for the baseline always: it has no way to put the characters together.
constexpr size_t kNotWide = ~size_t{0};

#define GROUNDUP_DECLARE(isa)                                                  \
  namespace isa {                                                              \
  size_t utf8_to_wide(const uint8_t* bytes, size_t n, uint16_t* out) noexcept; \
  }
GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
#undef GROUNDUP_DECLARE

}  // namespace groundup
