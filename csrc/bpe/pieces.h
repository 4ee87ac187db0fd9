// Texts as work for several threads: groups of about equally many bytes, whatever the texts' sizes.
//
// A long text becomes several pieces, cut where no chunk changes; short ones share a group.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bpe/split.h"

namespace groundup::bpe {

struct Text {
  const std::uint8_t* begin;
  std::size_t size;
};

struct Piece {
  const std::uint8_t* begin;
  std::size_t size;
  std::size_t text;        // which of the texts it is of
  std::uint64_t position;  // where it stands in all texts laid end to end
};

// The pieces in order; every text that is not empty has at least one. The texts must outlive them.
class Pieces {
 public:
  Pieces(const std::vector<Text>& texts, Pattern pattern, std::size_t group_bytes);

  struct Group {
    const Piece* first;
    const Piece* last;
    const Piece* begin() const noexcept { return first; }
    const Piece* end() const noexcept { return last; }
  };
  std::size_t n_groups() const noexcept { return starts_.size() - 1; }
  Group group(std::size_t i) const noexcept {
    return {pieces_.data() + starts_[i], pieces_.data() + starts_[i + 1]};
  }
  std::uint64_t n_bytes() const noexcept { return n_bytes_; }

 private:
  std::vector<Piece> pieces_;
  std::vector<std::size_t> starts_{0};  // group i is pieces_[starts_[i], starts_[i + 1])
  std::uint64_t n_bytes_ = 0;
};

}  // namespace groundup::bpe
