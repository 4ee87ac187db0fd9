#include "bpe/alphabet.h"

#include <algorithm>

namespace groundup::bpe {

std::vector<std::pair<std::uint32_t, std::uint64_t>> count_code_points(const ChunkList& chunks) {
  std::vector<std::uint64_t> counts(0x80);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const std::uint8_t* const chunk = chunks.bytes.data() + chunks.starts[i];
    for_each_character(
        chunk, chunks.starts[i + 1] - chunks.starts[i], [&](std::size_t at, std::size_t size) {
          if (size == 0) return;
          const std::uint32_t point = size == 1 ? chunk[at] : wide_code_point(chunk + at);
          if (point >= counts.size()) counts.resize(point + 1);
          counts[point] = checked_sum(counts[point], chunks.counts[i]);
        });
  }
  std::vector<std::pair<std::uint32_t, std::uint64_t>> found;
  for (std::uint32_t point = 0; point < counts.size(); ++point)
    if (counts[point]) found.emplace_back(point, counts[point]);
  return found;
}

Alphabet::Alphabet(const std::vector<std::uint32_t>& code_points) {
  const auto last = std::max_element(code_points.begin(), code_points.end());
  if (last != code_points.end()) ids_.resize(*last + std::size_t{1}, kNone);
  for (std::size_t i = 0; i < code_points.size(); ++i)
    ids_[code_points[i]] = static_cast<std::uint32_t>(256 + i);
}

}  // namespace groundup::bpe
