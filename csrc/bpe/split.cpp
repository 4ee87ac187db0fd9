#include "bpe/split.h"

#include <cstring>
#include <initializer_list>

#include "bpe/unicode.h"

namespace groundup::bpe {
namespace {

using Byte = std::uint8_t;

// The end of the longest run of characters of these kinds.
template <std::uint8_t kinds>
inline const Byte* skip(const Byte* at, const Byte* end) noexcept {
  while (at < end) {
    const Char c = char_at(at);
    if (!(c.kind & kinds)) break;
    at += c.size;
  }
  return at;
}

// The end of '(?:[sdmt]|ll|ve|re) at an apostrophe, or null. With `any_case` as (?i:...) has it,
// where U+017F (long s) is an s.
template <bool any_case>
inline const Byte* contraction(const Byte* at, const Byte* end) noexcept {
  const auto letter = [&](const Byte* p) -> Byte {
    if (p >= end) return 0;
    if (any_case && *p >= 'A' && *p <= 'Z') return *p + 32;
    return *p;
  };
  switch (letter(at + 1)) {
    case 's':
    case 'd':
    case 'm':
    case 't':
      return at + 2;
    case 'l':
      return letter(at + 2) == 'l' ? at + 3 : nullptr;
    case 'v':
    case 'r':
      return letter(at + 2) == 'e' ? at + 3 : nullptr;
    case 0xC5:
      return any_case && at[2] == 0xBF ? at + 3 : nullptr;
    default:
      return nullptr;
  }
}

struct WhiteRun {
  const Byte* end;
  const Byte* last;           // where its last character starts
  const Byte* after_newline;  // the end of its last \r or \n, or null
};

inline WhiteRun white_run(const Byte* at, const Byte* end) noexcept {
  WhiteRun run{at, at, nullptr};
  while (run.end < end) {
    const Char c = char_at(run.end);
    if (!(c.kind & kWhite)) break;
    run.last = run.end;
    run.end += c.size;
    if (c.kind == kNewline) run.after_newline = run.end;
  }
  return run;
}

// \s+(?!\S)|\s+ : leaves one character for the word that follows, unless there is only one.
inline const Byte* blanks(const WhiteRun& run, const Byte* at, const Byte* end) noexcept {
  return run.end == end || run.last == at ? run.end : run.last;
}

template <Pattern>
struct Scanner;

// '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
template <>
struct Scanner<Pattern::gpt2> {
  static const Byte* next(const Byte* at, const Byte* end) noexcept {
    if (*at == '\'')
      if (const Byte* after = contraction<false>(at, end)) return after;
    const Byte* word = at + (*at == ' ');
    if (word < end) {
      const Char c = char_at(word);
      if (c.kind & kLetter) return skip<kLetter>(word + c.size, end);
      if (c.kind & kNumber) return skip<kNumber>(word + c.size, end);
      if (c.kind & kSymbol) return skip<kSymbol>(word + c.size, end);
    }
    return blanks(white_run(at, end), at, end);
  }
};

inline const Byte* three_numbers(const Byte* at, const Byte* end) noexcept {
  for (int taken = 0; taken < 3 && at < end; ++taken) {
    const Char c = char_at(at);
    if (c.kind != kNumber) break;
    at += c.size;
  }
  return at;
}

// '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
// |\s+$|\s*[\r\n]|\s+(?!\S)|\s
template <>
struct Scanner<Pattern::gpt4> {
  static const Byte* next(const Byte* at, const Byte* end) noexcept {
    if (*at == '\'')
      if (const Byte* after = contraction<true>(at, end)) return after;
    const Char first = char_at(at);
    const Byte* second = at + first.size;
    if (first.kind & kLetter) return skip<kLetter>(second, end);
    if (first.kind == kNumber) return three_numbers(at, end);
    const std::uint8_t kind = second < end ? char_at(second).kind : 0;
    if (first.kind != kNewline && (kind & kLetter)) return skip<kLetter>(second, end);
    if ((first.kind & kSymbol) || (*at == ' ' && (kind & kSymbol)))
      return skip<kNewline>(skip<kSymbol>(second, end), end);
    const WhiteRun run = white_run(at, end);
    if (run.end != end && run.after_newline) return run.after_newline;
    return blanks(run, at, end);
  }
};

// [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|...)?
// |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|...)?
// |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <>
struct Scanner<Pattern::gpt4o> {
  static constexpr std::uint8_t kUncased = kOtherLetter | kMark;  // in both classes

  // [upper]*[lower]+ from `at`, else (upper_only) the end of [upper]+; null when neither is there.
  // [upper]* takes the whole run; without a lower-case letter after it, backtracking returns to
  // the run's last uncased character, which [lower]+ takes as its only one.
  static const Byte* word(const Byte* at, const Byte* end, bool* upper_only) noexcept {
    const Byte* uncased_end = nullptr;
    const Byte* run = at;
    *upper_only = false;
    while (run < end) {
      const Char c = char_at(run);
      if (c.kind == kLower) return skip<kLower | kUncased>(run + c.size, end);
      if (!(c.kind & (kUpper | kUncased))) break;
      run += c.size;
      if (c.kind & kUncased) uncased_end = run;
    }
    if (uncased_end) return uncased_end;
    *upper_only = true;
    return run > at ? run : nullptr;
  }

  static const Byte* next(const Byte* at, const Byte* end) noexcept {
    const Char first = char_at(at);
    const Byte* second = at + first.size;
    if (first.kind == kNumber) return three_numbers(at, end);
    if (first.kind != kNewline) {
      const bool leads = !(first.kind & kLetter);
      bool upper_only;
      const Byte* after = word(leads ? second : at, end, &upper_only);
      // The first alternative without its optional lead comes before the second with it.
      if (first.kind == kMark && upper_only) after = second;
      if (after) {
        if (after < end && *after == '\'')
          if (const Byte* longer = contraction<true>(after, end)) return longer;
        return after;
      }
    }
    if ((first.kind & kSymbol) ||
        (*at == ' ' && second < end && (char_at(second).kind & kSymbol))) {
      at = skip<kSymbol>(second, end);
      while (at < end && (*at == '\r' || *at == '\n' || *at == '/')) ++at;
      return at;
    }
    const WhiteRun run = white_run(at, end);
    if (run.after_newline) return run.after_newline;
    return blanks(run, at, end);
  }
};

// patterns.py tells what INDIC_MATH means by its alternatives, which follow one another here.
template <>
struct Scanner<Pattern::indic_math> {
  enum : std::uint16_t {
    kWhiteSpace = 1,
    kWordLetter = 2,
    kJoiner = 4,
    kWordMark = 8,
    kDecimal = 16,
    kPower = 32,
    kIndex = 64,
    kOtherNumber = 128,
    kOperator = 256,
    kSign = 512
  };
  struct Kind {
    std::uint16_t kind;
    std::uint8_t size;
  };

  static Kind kind_at(const Byte* at) noexcept {
    const Char c = char_at(at);
    if (c.kind & kWhite) return {kWhiteSpace, c.size};
    if (c.size == 1) {
      if (c.kind & kLetter) return {kWordLetter, 1};
      if (c.kind == kNumber) return {kDecimal, 1};
      return {std::memchr("+<=>|~*/^-", *at, 10) ? kOperator : kSign, 1};
    }
    const std::uint32_t point = wide_code_point(at);
    const bool power = point == 0xB9 || point == 0xB2 || point == 0xB3;
    if (power || (point >= 0x2070 && point <= 0x207F)) return {kPower, c.size};
    if (point >= 0x2080 && point <= 0x209C) return {kIndex, c.size};
    if (c.kind & kLetter) return {kWordLetter, c.size};
    if (c.kind == kMark) return {kWordMark, c.size};
    if (c.kind == kNumber) return {is_decimal(point) ? kDecimal : kOtherNumber, c.size};
    if (point == 0x200C || point == 0x200D) return {kJoiner, c.size};
    return {is_math_sign(point) ? kOperator : kSign, c.size};
  }

  template <std::uint16_t kinds>
  static const Byte* run(const Byte* at, const Byte* end) noexcept {
    while (at < end) {
      const Kind k = kind_at(at);
      if (!(k.kind & kinds)) break;
      at += k.size;
    }
    return at;
  }

  static const Byte* next(const Byte* at, const Byte* end) noexcept {
    constexpr std::uint16_t kWord = kWordLetter | kWordMark | kJoiner;
    if (*at == '\'')
      if (const Byte* after = contraction<true>(at, end)) return after;
    const Byte* body = at + (*at == ' ');
    const Kind k = body < end ? kind_at(body) : Kind{kWhiteSpace, 0};
    const Byte* second = body + k.size;
    if (k.kind & kWord) return run<kWord>(second, end);
    if (k.kind == kOperator) {
      while (second < end && kind_at(second).kind & (kOperator | kWordMark))
        second += kind_at(second).size;
      return second;
    }
    if (k.kind == kSign) return skip<kNewline>(run<kSign | kWordMark | kJoiner>(second, end), end);
    if (body == at) {
      if (k.kind == kDecimal) {
        for (int more = 0; more < 2 && second < end; ++more) {
          const Kind digit = kind_at(second);
          if (digit.kind != kDecimal) break;
          second += digit.size;
        }
        return second;
      }
      if (k.kind == kPower) return run<kPower>(second, end);
      if (k.kind == kIndex) return run<kIndex>(second, end);
      if (k.kind == kOtherNumber) return second;
    }
    const WhiteRun white = white_run(at, end);
    if (white.after_newline) return white.after_newline;
    return blanks(white, at, end);
  }
};

template <>
struct Scanner<Pattern::none> {
  static const Byte* next(const Byte*, const Byte* end) noexcept { return end; }
};

template <Pattern pattern>
std::size_t scan(const Byte* text, std::size_t at, std::size_t n, std::size_t* ends,
                 std::size_t capacity) noexcept {
  const Byte* p = text + at;
  const Byte* const end = text + n;
  std::size_t found = 0;
  while (p < end && found < capacity) {
    p = Scanner<pattern>::next(p, end);
    ends[found++] = static_cast<std::size_t>(p - text);
  }
  return found;
}

}  // namespace

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

std::size_t split_some(Pattern pattern, const Byte* text, std::size_t at, std::size_t n,
                       std::size_t* ends, std::size_t capacity) noexcept {
  switch (pattern) {
    case Pattern::gpt2:
      return scan<Pattern::gpt2>(text, at, n, ends, capacity);
    case Pattern::gpt4:
      return scan<Pattern::gpt4>(text, at, n, ends, capacity);
    case Pattern::gpt4o:
      return scan<Pattern::gpt4o>(text, at, n, ends, capacity);
    case Pattern::indic_math:
      return scan<Pattern::indic_math>(text, at, n, ends, capacity);
    default:
      return scan<Pattern::none>(text, at, n, ends, capacity);
  }
}

std::size_t find_cut(Pattern pattern, const Byte* text, std::size_t wanted,
                     std::size_t n) noexcept {
  if (pattern == Pattern::none) return n;
  for (std::size_t at = wanted < 1 ? 1 : wanted; at < n; ++at)
    if (text[at] == ' ' && !(char_at(last_char(text + at)).kind & kWhite)) return at;
  return n;
}

}  // namespace groundup::bpe
