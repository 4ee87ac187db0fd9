// Counts the steps of splitting and encoding: the sources as they are, compiled with
// -fsanitize-coverage=trace-pc, which calls the function below in every basic block, loops of the
// standard library included. What memcpy and its like move is added, a step for 16 bytes.
//
// Reads "pattern times unit-in-hex n_merges left right left right ..." from each line of stdin,
// makes the text of so many units, and prints "steps-of-splitting steps-of-encoding n_ids".
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "bpe/encode.h"
#include "bpe/scan.h"
#include "isa.h"

namespace {

std::uint64_t n_steps = 0;

}  // namespace

#define NOT_COUNTED __attribute__((no_sanitize_coverage))
extern "C" {
NOT_COUNTED void __sanitizer_cov_trace_pc() { ++n_steps; }

void* __real_memcpy(void*, const void*, std::size_t);
void* __real_memmove(void*, const void*, std::size_t);
void* __real_memset(void*, int, std::size_t);
NOT_COUNTED void* __wrap_memcpy(void* to, const void* from, std::size_t n) {
  n_steps += n / 16;
  return __real_memcpy(to, from, n);
}
NOT_COUNTED void* __wrap_memmove(void* to, const void* from, std::size_t n) {
  n_steps += n / 16;
  return __real_memmove(to, from, n);
}
NOT_COUNTED void* __wrap_memset(void* to, int byte, std::size_t n) {
  n_steps += n / 16;
  return __real_memset(to, byte, n);
}
}

namespace groundup {

// The baseline is what runs here; the others' masks are the same.
Isa active_isa() noexcept { return Isa::baseline; }
#define GROUNDUP_ABSENT(isa)                                                            \
  namespace isa {                                                                       \
  size_t scan(bpe::Pattern, const uint8_t*, size_t, size_t, size_t*, size_t) noexcept { \
    std::abort();                                                                       \
  }                                                                                     \
  }
#if defined(__x86_64__)
GROUNDUP_ABSENT(avx2)
GROUNDUP_ABSENT(avx512)
#endif

}  // namespace groundup

int main() {
  using namespace groundup::bpe;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream fields(line);
    std::string name, hex;
    std::size_t times, n_merges;
    fields >> name >> times >> hex >> n_merges;
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    std::vector<std::uint32_t> merges;
    for (std::uint32_t left, right; fields >> left >> right;) {
      merges.insert(merges.end(), {left, right, static_cast<std::uint32_t>(tokens.size())});
      tokens.push_back(tokens.at(left) + tokens.at(right));
    }
    Pattern pattern;
    if (!find_pattern(name.c_str(), &pattern) || merges.size() != 3 * n_merges) return 1;
    std::string unit, text;
    for (std::size_t at = 0; at < hex.size(); at += 2)
      unit += static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16));
    for (std::size_t i = 0; i < times; ++i) text += unit;
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(text.data());

    std::uint64_t before = n_steps;
    for_each_batch(pattern, bytes, text.size(),
                   [](std::size_t, const std::size_t*, std::size_t) {});
    const std::uint64_t splitting = n_steps - before;
    const Encoder encoder(tokens, merges.data(), n_merges, pattern, false);
    IdBuffer ids;
    before = n_steps;
    encoder.encode(bytes, text.size(), &ids);
    std::cout << splitting << ' ' << n_steps - before << ' ' << ids.size() << '\n';
  }
}
