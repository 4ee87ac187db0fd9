// Stage 1: cuts text into chunks exactly where a pattern's regular expression cuts it.
//
// The expressions are those of python/groundup/tokenizer/patterns.py; scan.cpp cuts, once for each
// instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace groundup::bpe {

enum class Pattern { none, gpt2, gpt4, gpt4o, indic_math };

// False when there is no scanner of that name.
bool find_pattern(const char* name, Pattern* pattern) noexcept;

// Writes the ends (offsets from text, at most `capacity`) of the chunks of text[at, n) and
// returns how many: at least one where there is text and room, but not always as many as there is
// room for. at must be the end of a chunk, or 0. The text is valid UTF-8. Fastest with room for
// hundreds.
std::size_t split_some(Pattern pattern, const std::uint8_t* text, std::size_t at, std::size_t n,
                       std::size_t* ends, std::size_t capacity) noexcept;

// The first offset from `wanted` on at which the text may be cut without changing any chunk on
// either side, or n: just before a space that follows something else than white space.
std::size_t find_cut(Pattern pattern, const std::uint8_t* text, std::size_t wanted,
                     std::size_t n) noexcept;

constexpr std::size_t kSplitBatch = 512;

// Calls visit(at, ends, found) for batches of the chunks of text[0, n): the first starts at `at`,
// chunk i ends at ends[i].
template <class Visit>
void for_each_batch(Pattern pattern, const std::uint8_t* text, std::size_t n, Visit&& visit) {
  std::size_t ends[kSplitBatch];
  for (std::size_t at = 0; at < n;) {
    const std::size_t found = split_some(pattern, text, at, n, ends, kSplitBatch);
    visit(at, ends, found);
    at = ends[found - 1];
  }
}

}  // namespace groundup::bpe
