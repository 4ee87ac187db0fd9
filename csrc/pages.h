// Pages of memory for large outputs.
#pragma once

#include <stddef.h>

namespace groundup {

// Asks for huge pages under a large buffer that is about to be written for the first time: a fault
// for every 4 KiB of a fresh allocation costs several times the writing. Only a hint, and nothing
// where the system has none or the buffer is small.
void advise_huge_pages(void* buffer, size_t n_bytes) noexcept;

}  // namespace groundup
