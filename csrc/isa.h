// Which instruction set the kernels run on: one copy of each kernel per set, chosen at import.
//
// A kernel source is compiled once per set with GROUNDUP_ISA=<name> and defines its functions
// inside `namespace groundup::GROUNDUP_ISA`. Its header declares them for every set:
//
//     #define GROUNDUP_DECLARE(isa) namespace isa { int gelu_forward_cpu(const Gelu&) noexcept; }
//     GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
//     #undef GROUNDUP_DECLARE
//
// and the binding calls GROUNDUP_CALL(gelu_forward_cpu, arguments).
#pragma once

namespace groundup {

enum class Isa { baseline, avx2, avx512 };

// The set in use: the best the machine has, or the one GROUNDUP_ISA names.
Isa active_isa() noexcept;
bool machine_has(Isa isa) noexcept;
const char* isa_name(Isa isa) noexcept;

// Reads GROUNDUP_ISA; returns null, or a sentence that says why the name cannot be used.
const char* choose_isa() noexcept;

}  // namespace groundup

#if defined(__x86_64__) || defined(_M_X64)
#define GROUNDUP_FOR_EACH_ISA(declare) declare(baseline) declare(avx2) declare(avx512)
#define GROUNDUP_CALL(function, ...)                                                               \
  (::groundup::active_isa() == ::groundup::Isa::avx512 ? ::groundup::avx512::function(__VA_ARGS__) \
   : ::groundup::active_isa() == ::groundup::Isa::avx2                                             \
       ? ::groundup::avx2::function(__VA_ARGS__)                                                   \
       : ::groundup::baseline::function(__VA_ARGS__))
#else
#define GROUNDUP_FOR_EACH_ISA(declare) declare(baseline)
#define GROUNDUP_CALL(function, ...) ::groundup::baseline::function(__VA_ARGS__)
#endif
