// Finds ids by the bytes of tokens. Of equal tokens the first stands; empty ones are never found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace groundup::bpe {

constexpr std::size_t kMostTokens = std::size_t{1} << 24;

class TokenTable {
 public:
  static constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;
  // `tokens` must outlive it. Throws std::invalid_argument for 2^24 and more.
  explicit TokenTable(const std::vector<std::string>& tokens);
  std::uint32_t find(const std::uint8_t* bytes, std::size_t n) const noexcept;

 private:
  // The hash's upper half beside the id: a token's bytes are only looked at when they are, nearly
  // surely, the ones asked for.
  struct Slot {
    std::uint32_t id;
    std::uint32_t tag;
  };

  const std::vector<std::string>& tokens_;
  std::vector<Slot> slots_;
};

}  // namespace groundup::bpe
