// Numbers in as many bytes as they need: LEB128, seven bits a byte, the lowest first, the last byte
// below 128.
#pragma once

#include <cstdint>
#include <vector>

namespace groundup::bpe {

inline void put_number(std::uint64_t number, std::vector<std::uint8_t>* bytes) {
  for (; number >= 128; number >>= 7) bytes->push_back(static_cast<std::uint8_t>(number | 128));
  bytes->push_back(static_cast<std::uint8_t>(number));
}

// The number at *bytes, which put_number wrote; *bytes is then behind it.
inline std::uint64_t take_number(const std::uint8_t** bytes) noexcept {
  std::uint64_t number = 0;
  for (unsigned shift = 0;; shift += 7) {
    const std::uint8_t byte = *(*bytes)++;
    number |= std::uint64_t{byte & 127u} << shift;
    if (byte < 128) return number;
  }
}

}  // namespace groundup::bpe
