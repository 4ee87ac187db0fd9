#include "bpe/split.h"

#include <cstring>
#include <initializer_list>

#include "bpe/scan.h"
#include "bpe/unicode.h"

namespace groundup::bpe {

bool find_pattern(const char* name, Pattern* pattern) noexcept {
  struct Named {
    const char* name;
    Pattern pattern;
  };
  for (const Named& known :
       {Named{"none", Pattern::none}, Named{"gpt2", Pattern::gpt2}, Named{"gpt4", Pattern::gpt4},
        Named{"gpt4o", Pattern::gpt4o}, Named{"indic-math", Pattern::indic_math}}) {
    if (std::strcmp(name, known.name) != 0) continue;
    *pattern = known.pattern;
    return true;
  }
  return false;
}

std::size_t split_some(Pattern pattern, const std::uint8_t* text, std::size_t at, std::size_t n,
                       std::size_t* ends, std::size_t capacity) noexcept {
  return GROUNDUP_CALL(scan, pattern, text, at, n, ends, capacity);
}

std::size_t find_cut(Pattern pattern, const std::uint8_t* text, std::size_t wanted,
                     std::size_t n) noexcept {
  if (pattern == Pattern::none) return n;
  for (std::size_t at = wanted < 1 ? 1 : wanted; at < n; ++at)
    if (text[at] == ' ' && !(char_at(last_char(text + at)).kind & kWhite)) return at;
  return n;
}

}  // namespace groundup::bpe
