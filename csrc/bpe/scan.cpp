// Chunks by 64 bytes at a time; docs/bpe.md derives it.
//
// A window starts where a chunk starts, so nothing before it matters: what the expression matches
// from there is told by the classes of the bytes, as masks. A start that is found counts only where
// nothing beyond the window could change it; the next window begins at the last one that counts.
// What masks do not tell (`odd`) is left to scan_chunk.h, chunk by chunk.
#include "bpe/scan.h"

#include "bpe/scan_bytes.h"
#include "bpe/scan_chunk.h"

namespace groundup::GROUNDUP_ISA {
namespace {

constexpr size_t kWindow = 64;
constexpr size_t kShortest = 16;    // fewer bytes are not worth a window
constexpr unsigned kLookAhead = 4;  // a start depends on fewer bytes after it

inline uint64_t lowest(unsigned n) noexcept {
  return n < 64 ? (uint64_t{1} << n) - 1 : ~uint64_t{0};
}
inline uint64_t run_starts(uint64_t runs) noexcept { return runs & ~(runs << 1); }
// The ends (one past the last) of those runs of which `seeds` are the first bits.
inline uint64_t run_ends(uint64_t seeds, uint64_t runs) noexcept { return (seeds + runs) & ~runs; }

// What the bytes of a window are, as masks; a character's bytes all have its class.
struct Classes {
  uint64_t letter;  // with the marks and joiners of words, where the pattern keeps those in them
  uint64_t upper, lower, uncased;  // of them
  uint64_t attached;               // of them: marks and joiners
  uint64_t number, white, symbol;
  uint64_t space, newline, quote, slash;  // of white and symbol: ' ', \r \n, ', /
  uint64_t operators;                     // of symbol
  uint64_t continuation;                  // bytes that start no character
  uint64_t odd;                           // characters about which the masks do not tell enough
  unsigned n;                             // bytes that are known
};

// In indic-math, what makes a number more than digits with letters after them.
inline uint64_t odd_beside_numbers(const Bytes& b, uint64_t digits) noexcept {
  const uint64_t after = digits << 1, more = digits | high_bits(b);  // perhaps digits
  const uint64_t joins = (equal(b, '.') | (equal(b, ',') & more >> 2)) & more >> 1;
  return (after & (joins | equal(b, '%'))) | (equal(b, '$') & (after | more >> 1));
}

template <Pattern pattern>
inline Classes classify(const Byte* at, unsigned n) noexcept {
  constexpr bool cased = pattern == Pattern::gpt4o, indic = pattern == Pattern::indic_math;
  const Bytes b = load_bytes(at);
  Classes c = {};
  c.n = n;
  if (cased) {
    c.lower = within(b, 'a', 26);
    c.upper = within(b, 'A', 26);
    c.letter = c.lower | c.upper;
    c.slash = equal(b, '/');
  } else {
    c.letter = within(with_bit(b, 0x20), 'a', 26);
  }
  c.number = within(b, '0', 10);
  c.space = equal(b, ' ');
  c.white = c.space | within(b, '\t', 5);
  c.newline = equal(b, '\n') | equal(b, '\r');
  c.quote = equal(b, '\'');
  if (indic) {
    c.operators = within(b, '<', 3) | within(b, '*', 2) | equal(b, '-') | equal(b, '/') |
                  equal(b, '^') | equal(b, '|') | equal(b, '~');
    c.odd = odd_beside_numbers(b, c.number);
  }
  if (const uint64_t high = high_bits(b) & lowest(n)) {
    if (n > kWindow - 2) c.n = kWindow - 2;  // a character of three bytes from there on is not seen
    WideClasses wide;
    wide.fill(at, b, high, lowest(c.n));
    const uint64_t* of = wide.of;
    c.continuation = within(b, 0x80, 0x40);
    c.letter |= of[0] | of[1] | of[2];
    c.white |= of[6];
    c.odd |= of[6];
    const uint64_t numbers = of[4] | of[5] | of[12];
    if (indic) {
      c.attached = of[3] | of[10];
      c.letter |= c.attached;
      c.operators |= of[9];
      c.odd |= numbers | of[8] | of[11] | of[13] | (of[14] & c.number << 1);
    } else {
      c.letter |= of[11];
      c.number |= numbers;
      if (pattern != Pattern::gpt2) c.odd |= numbers;
    }
    if (cased) {
      c.upper |= of[0];
      c.lower |= of[1];
      c.attached = of[3];
      c.letter |= of[3];
      c.uncased = of[2] | of[3] | of[11];
    }
  }
  c.symbol = ~(c.letter | c.white | c.number);
  return c;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ where the line ends at `seeds`, the first of their runs, belong to the
// signs before them, and so do those that follow.
inline uint64_t white_starts(const Classes& c, uint64_t seeds) noexcept {
  const uint64_t blank = c.white & ~c.newline;
  const uint64_t taken = c.newline & ~(c.newline + seeds);
  const uint64_t white = c.white & ~taken, newline = c.newline & ~taken;
  // A blank after a line end starts a chunk unless another line end follows in its run.
  uint64_t after = newline << 1 & blank;
  for (uint64_t more = run_ends(after, blank) & newline; more; more &= more - 1)
    after &= ~(uint64_t{1} << (63 - __builtin_clzll(after & lowest(__builtin_ctzll(more)))));
  return run_starts(white) | after | (blank & ~(c.white >> 1));
}

// Up to where starts are certain: before what a contraction or a space may depend on, and not
// within white space that is not known to end.
inline unsigned last_known(const Classes& c) noexcept {
  const uint64_t other = ~c.white & lowest(c.n);
  const unsigned white = other ? 64 - __builtin_clzll(other) : 0;
  return white < c.n - kLookAhead ? white : c.n - kLookAhead;
}

// Letters before which one sign alone starts a chunk: they belong to it.
inline uint64_t led_letters(const Classes& c, uint64_t signs) noexcept {
  uint64_t second = signs << 1;
  if (c.continuation) {
    const uint64_t rest = c.symbol & c.continuation;
    second = (second & ~rest) | run_ends(second & rest, rest);
  }
  return second & c.letter;
}

// The first of every three numbers after the third.
inline uint64_t third_numbers(const Classes& c) noexcept {
  const uint64_t fourth = c.number & c.number << 1 & c.number << 2 & c.number << 3;
  uint64_t all = 0;
  if (fourth)
    for (uint64_t at = run_starts(c.number); (at = at << 3 & fourth);) all |= at;
  return all;
}

// Where chunks start, and what is odd beside c.odd.
struct Starts {
  uint64_t at;
  uint64_t odd;
  unsigned limit;  // what starts beyond is not certain
};

// Cuts where a contraction from one of `quotes` on ends, and nowhere within it.
template <bool any_case, bool whole = false>
inline void contract(const Byte* at, uint64_t quotes, Starts* starts, unsigned n) noexcept {
  for (quotes &= lowest(starts->limit + 1); quotes; quotes &= quotes - 1) {
    const int i = __builtin_ctzll(quotes);
    const Byte* after = contraction<any_case>(at + i, at + n);
    if (!after) continue;
    if (whole && (char_at(after).kind & (kLetter | kMark | kJoiner))) continue;
    const int end = static_cast<int>(after - at);
    starts->at &= ~(lowest(end) & ~lowest(i + 1));
    if (end < 64) starts->at |= uint64_t{1} << end;
  }
}

template <Pattern>
struct Window;

template <>
struct Window<Pattern::gpt2> {
  static Starts starts(const Byte* at, const Classes& c) noexcept {
    const uint64_t led = c.space << 1;
    const uint64_t signs = run_starts(c.symbol) & ~led;
    Starts found{(run_starts(c.letter) | run_starts(c.number)) & ~led, 0, c.n - kLookAhead};
    found.at |= signs | run_starts(c.white) | (c.white & ~(c.white >> 1));
    contract<false>(at, c.quote & signs, &found, c.n);
    return found;
  }
};

template <>
struct Window<Pattern::gpt4> {
  static Starts starts(const Byte* at, const Classes& c) noexcept {
    const uint64_t signs = run_starts(c.symbol) & ~(c.space << 1);
    const uint64_t led = (c.white & ~c.newline) << 1 | led_letters(c, signs);
    Starts found{signs | (run_starts(c.letter) & ~led), 0, last_known(c)};
    found.at |= run_starts(c.number) | third_numbers(c);
    found.at |= white_starts(c, c.newline & c.symbol << 1);
    contract<true>(at, c.quote & signs, &found, c.n);
    return found;
  }
};

template <>
struct Window<Pattern::gpt4o> {
  static Starts starts(const Byte* at, const Classes& c) noexcept {
    const uint64_t signs = run_starts(c.symbol) & ~(c.space << 1);
    const uint64_t led = (c.white & ~c.newline) << 1 | led_letters(c, signs);
    const uint64_t words = run_starts(c.letter), line_ends = c.newline & c.symbol << 1;
    Starts found{signs | (words & ~led), 0, last_known(c)};
    found.at |= c.upper & c.lower << 1;
    found.at |= run_starts(c.number) | third_numbers(c);
    found.at |= white_starts(c, line_ends);
    // A mark without a letter is a sign's as well as a word's; whether a capital goes on with
    // letters that have no case depends on what follows; a slash may follow a sign's line ends.
    found.odd = (words & c.attached) | (c.upper & c.uncased << 1) |
                (run_ends(line_ends, c.newline) & c.slash);
    // A word takes one contraction, so of "a's's" the second leads a word.
    int end = 0;
    uint64_t quotes = c.quote & c.letter << 1 & lowest(found.limit + 1);
    for (; quotes; quotes &= quotes - 1) {
      const int i = __builtin_ctzll(quotes);
      const Byte* after = i == end ? nullptr : contraction<true>(at + i, at + c.n);
      if (!after) continue;
      end = static_cast<int>(after - at);
      found.at &= ~(lowest(end) & ~lowest(i));
      found.at |= uint64_t{1} << end;
    }
    return found;
  }
};

template <>
struct Window<Pattern::indic_math> {
  static Starts starts(const Byte* at, const Classes& c) noexcept {
    const uint64_t led = c.space << 1, sign = c.symbol & ~c.operators;
    const uint64_t signs = run_starts(sign) & ~led, words = run_starts(c.letter);
    Starts found{signs | (run_starts(c.operators) & ~led), 0, last_known(c)};
    found.at |= words & ~(led | c.number << 1);  // a variable or a unit
    found.at |= (run_starts(c.number) & ~led) | third_numbers(c);
    found.at |= white_starts(c, c.newline & sign << 1);
    found.odd = words & c.attached;  // a sign's or a number's
    contract<true, true>(at, c.quote & signs, &found, c.n);
    return found;
  }
};

// The ends of the chunks of a window at text[at]; n bytes of text are there. Returns how many were
// written (up to 64, into room for 64) and, in *odd, the offset up to which chunk by chunk is next.
template <Pattern pattern>
inline size_t window(const Byte* text, size_t at, size_t n, size_t* ends, size_t* last,
                     size_t* odd) noexcept {
  Byte rest[kWindow];
  const Byte* bytes = text + at;
  unsigned known = kWindow;
  if (n - at < kWindow) {
    known = static_cast<unsigned>(n - at);
    memset(rest, 0, sizeof rest);
    memcpy(rest, bytes, known);
    bytes = rest;
    *odd = n;
  }
  const Classes c = classify<pattern>(bytes, known);
  Starts found = Window<pattern>::starts(bytes, c);
  unsigned limit = found.limit;
  if (const uint64_t unclear = (c.odd | found.odd) & lowest(c.n)) {
    const unsigned first = __builtin_ctzll(unclear);
    if (*odd < at + first) *odd = at + first;
    if (first < limit + 1) limit = first ? first - 1 : 0;
  }
  uint64_t chunk_ends = found.at & lowest(limit + 1) & ~uint64_t{1};
  const size_t count = static_cast<size_t>(__builtin_popcountll(chunk_ends));
  write_places(chunk_ends, at, ends);
  // Not read back from `ends`: the next window waits for it, and would wait for all before it.
  if (count) *last = at + 63 - static_cast<size_t>(__builtin_clzll(chunk_ends));
  return count;
}

template <Pattern pattern>
size_t scan_all(const Byte* text, size_t at, size_t n, size_t* ends, size_t capacity) noexcept {
  size_t found = 0, odd = at;  // up to and with text[odd], chunk by chunk
  const Byte* const end = text + n;
  while (at < n && found < capacity) {
    odd = at;
    if (capacity - found >= kWindow) {
      const size_t more =
          n - at < kShortest ? 0 : window<pattern>(text, at, n, ends + found, &at, &odd);
      found += more;
      if (more && odd <= at) continue;  // the window was clear
    } else if (found) {
      break;
    }
    do {
      at = static_cast<size_t>(Chunk<pattern>::next(text + at, end) - text);
      ends[found++] = at;
    } while (at <= odd && at < n && found < capacity);
  }
  return found;
}

}  // namespace

size_t scan(bpe::Pattern pattern, const uint8_t* text, size_t at, size_t n, size_t* ends,
            size_t capacity) noexcept {
  switch (pattern) {
    case Pattern::gpt2:
      return scan_all<Pattern::gpt2>(text, at, n, ends, capacity);
    case Pattern::gpt4:
      return scan_all<Pattern::gpt4>(text, at, n, ends, capacity);
    case Pattern::gpt4o:
      return scan_all<Pattern::gpt4o>(text, at, n, ends, capacity);
    case Pattern::indic_math:
      return scan_all<Pattern::indic_math>(text, at, n, ends, capacity);
    default:
      if (at == n || capacity == 0) return 0;
      *ends = n;
      return 1;
  }
}

}  // namespace groundup::GROUNDUP_ISA
