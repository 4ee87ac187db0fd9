#include "isa.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace groundup {
namespace {

Isa chosen = Isa::baseline;
char complaint[256];

Isa best() noexcept {
  if (machine_has(Isa::avx512)) return Isa::avx512;
  if (machine_has(Isa::avx2)) return Isa::avx2;
  return Isa::baseline;
}

}  // namespace

Isa active_isa() noexcept { return chosen; }

const char* isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

bool machine_has(Isa isa) noexcept {
  if (isa == Isa::baseline) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  if (isa == Isa::avx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd");
#else
  return false;
#endif
}

const char* choose_isa() noexcept {
  chosen = best();
  const char* wanted = std::getenv("GROUNDUP_ISA");
  if (wanted == nullptr || *wanted == '\0') return nullptr;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (std::strcmp(wanted, isa_name(isa)) != 0) continue;
    if (machine_has(isa)) {
      chosen = isa;
      return nullptr;
    }
    std::snprintf(complaint, sizeof complaint,
                  "GROUNDUP_ISA=%s: this machine lacks it; its best is %s. Unset GROUNDUP_ISA or "
                  "name that one.",
                  isa_name(isa), isa_name(best()));
    return complaint;
  }
  std::snprintf(complaint, sizeof complaint,
                "GROUNDUP_ISA: expected baseline, avx2 or avx512, got '%.32s'.", wanted);
  return complaint;
}

}  // namespace groundup
