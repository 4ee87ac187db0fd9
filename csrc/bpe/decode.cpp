#include "bpe/decode.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace groundup::bpe {

ByteBuffer::~ByteBuffer() { std::free(bytes_); }

char* ByteBuffer::room(std::size_t n) {
  if (capacity_ - size_ < n) {
    const std::size_t capacity = std::max(size_ + n, capacity_ + capacity_ / 2);
    if (capacity > std::size_t{1} << 62) throw std::bad_alloc();
    void* grown = std::realloc(bytes_, capacity);
    if (grown == nullptr) throw std::bad_alloc();
    bytes_ = static_cast<char*>(grown);
    capacity_ = capacity;
  }
  return bytes_ + size_;
}

Decoder::Decoder(const std::vector<std::string>& tokens) : slots_(tokens.size()) {
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string& token = tokens[id];
    Slot& slot = slots_[id];
    if (token.size() <= kShort) {
      std::copy(token.begin(), token.end(), slot.bytes);
      slot.length = static_cast<std::uint8_t>(token.size());
      continue;
    }
    const std::uint64_t begin = long_.size(), length = token.size();
    std::memcpy(slot.bytes, &begin, 7);
    std::memcpy(slot.bytes + 7, &length, 8);
    slot.length = kLong;
    long_ += token;
  }
}

Decoder::Long Decoder::find_long(const Slot& slot) const noexcept {
  std::uint64_t begin = 0, length;
  std::memcpy(&begin, slot.bytes, 7);
  std::memcpy(&length, slot.bytes + 7, 8);
  std::uint64_t seen = 0;
  for (std::uint64_t i = begin; i < begin + length; ++i)
    seen |= static_cast<std::uint8_t>(long_[i]);
  return {long_.data() + begin, length, seen};
}

}  // namespace groundup::bpe
