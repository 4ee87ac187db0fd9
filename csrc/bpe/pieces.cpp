#include "bpe/pieces.h"

namespace groundup::bpe {

Pieces::Pieces(const std::vector<Text>& texts, Pattern pattern, std::size_t group_bytes) {
  std::size_t in_group = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Text& text = texts[i];
    for (std::size_t at = 0; at < text.size;) {
      const std::size_t cut = text.size - at <= group_bytes
                                  ? text.size
                                  : find_cut(pattern, text.begin, at + group_bytes, text.size);
      pieces_.push_back({text.begin + at, cut - at, i, n_bytes_ + at});
      in_group += cut - at;
      at = cut;
      if (in_group < group_bytes) continue;
      starts_.push_back(pieces_.size());
      in_group = 0;
    }
    n_bytes_ += text.size;
  }
  if (starts_.back() != pieces_.size()) starts_.push_back(pieces_.size());
}

}  // namespace groundup::bpe
