// One chunk at a time, character by character: what the patterns mean, and what scan.cpp falls back
// on where 64 bytes do not tell.
//
// Each scanner decides from the characters ahead alone (the expressions look behind nothing) and
// reads every character a bounded number of times, so that a million spaces cost what a million
// letters cost. Included by scan.cpp alone, once per instruction set: everything is static.
#pragma once

#include <stdint.h>

#include "bpe/split.h"
#include "bpe/unicode.h"

namespace groundup::GROUNDUP_ISA {
namespace {

using namespace bpe;
using Byte = uint8_t;

// The end of the longest run of characters of these kinds.
template <uint16_t kinds>
inline const Byte* skip(const Byte* at, const Byte* end) noexcept {
  while (at < end) {
    const Char c = char_at(at);
    if (!(c.kind & kinds)) break;
    at += c.size;
  }
  return at;
}

inline uint16_t kind_at(const Byte* at, const Byte* end) noexcept {
  return at < end ? char_at(at).kind : 0;
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
struct Chunk;

// '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
template <>
struct Chunk<Pattern::gpt2> {
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
    if (!(c.kind & kNumber)) break;
    at += c.size;
  }
  return at;
}

// '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
// |\s+$|\s*[\r\n]|\s+(?!\S)|\s
template <>
struct Chunk<Pattern::gpt4> {
  static const Byte* next(const Byte* at, const Byte* end) noexcept {
    if (*at == '\'')
      if (const Byte* after = contraction<true>(at, end)) return after;
    const Char first = char_at(at);
    const Byte* second = at + first.size;
    if (first.kind & kLetter) return skip<kLetter>(second, end);
    if (first.kind & kNumber) return three_numbers(at, end);
    const uint16_t kind = kind_at(second, end);
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
struct Chunk<Pattern::gpt4o> {
  static constexpr uint16_t kUncased = kOtherLetter | kScriptLetter | kMark;  // in both classes

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
    if (first.kind & kNumber) return three_numbers(at, end);
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
    if ((first.kind & kSymbol) || (*at == ' ' && (kind_at(second, end) & kSymbol))) {
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
struct Chunk<Pattern::indic_math> {
  static constexpr uint16_t kAttached = kMark | kJoiner;
  static constexpr uint16_t kWord = kUpper | kLower | kOtherLetter | kAttached;
  static constexpr uint16_t kScript = kScriptLetter | kScriptNumber | kScriptSign;

  static const Byte* scripts(const Byte* at, const Byte* end) noexcept {
    for (int taken = 0; taken < 8 && (kind_at(at, end) & kScript); ++taken)
      at = skip<kAttached>(at + char_at(at).size, end);
    return at;
  }

  // The end of `least` to three digits, or null.
  static const Byte* digits(const Byte* at, const Byte* end, int least) noexcept {
    int taken = 0;
    for (; taken < 3 && kind_at(at, end) == kDecimal; ++taken) at += char_at(at).size;
    return taken < least ? nullptr : at;
  }

  static const Byte* number(const Byte* at, const Byte* end) noexcept {
    at = digits(at, end, 1);
    for (int groups = 0; groups < 3 && at < end && *at == ','; ++groups) {
      const Byte* after = digits(at + 1, end, 2);
      if (!after) break;
      at = after;
    }
    if (at < end && *at == '.')
      if (const Byte* after = digits(at + 1, end, 1)) at = after;
    return scripts(unit(at, end), end);
  }

  static const Byte* unit(const Byte* at, const Byte* end) noexcept {
    if (at == end) return at;
    const Char c = char_at(at);
    if (*at == '%') return at + 1;
    if (c.kind == kCurrency) return kind_at(at + c.size, end) == kDecimal ? at : at + c.size;
    if (at[0] == 0xE2 && at[1] == 0x80 && (at[2] == 0xB0 || at[2] == 0xB2 || at[2] == 0xB3))
      return at + 3;                              // per mille, prime, double prime
    if (at[0] == 0xC2 && at[1] == 0xB0) at += 2;  // degree
    return skip<kWord>(at, end);
  }

  // A currency sign that belongs to the number after it.
  static bool leads_number(const Byte* at, Char c, const Byte* end) noexcept {
    return c.kind == kCurrency && kind_at(at + c.size, end) == kDecimal;
  }

  static const Byte* signs(const Byte* at, const Byte* end) noexcept {
    while (at < end) {
      const Char c = char_at(at);
      if (!(c.kind & (kCurrency | kOtherSign | kAttached)) || leads_number(at, c, end)) break;
      at += c.size;
    }
    return at;
  }

  static const Byte* next(const Byte* at, const Byte* end) noexcept {
    if (*at == '\'')
      if (const Byte* after = contraction<true>(at, end))
        if (!(kind_at(after, end) & (kLetter | kAttached))) return after;
    const Byte* body = at + (*at == ' ');
    if (body < end) {
      const Char c = char_at(body);
      const Byte* second = body + c.size;
      if (c.kind & kWord) return scripts(skip<kWord>(second, end), end);
      if (c.kind == kDecimal) return number(body, end);
      if (leads_number(body, c, end)) return number(second, end);
      if (c.kind & kScript) return scripts(body, end);
      if (c.kind == kOtherNumber) return skip<kAttached>(second, end);
      if (c.kind == kOperator) return scripts(skip<kOperator | kMark>(second, end), end);
      if (!(c.kind & kWhite)) return skip<kNewline>(scripts(signs(second, end), end), end);
    }
    const WhiteRun white = white_run(at, end);
    if (white.after_newline) return white.after_newline;
    return blanks(white, at, end);
  }
};

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
