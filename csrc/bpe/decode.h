// Stage 5: ids back to bytes.
//
// Nearly every token fits in fifteen bytes, so that one line of memory holds all of it and one
// store of sixteen bytes writes it; what is too much is overwritten by the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace groundup::bpe {

// Bytes on their way out, never initialised.
class ByteBuffer {
 public:
  ByteBuffer() = default;
  ~ByteBuffer();
  ByteBuffer(const ByteBuffer&) = delete;

  // Where to write up to n bytes; wrote(end) then says where they ended. Throws std::bad_alloc.
  char* room(std::size_t n);
  void wrote(const char* end) noexcept { size_ = static_cast<std::size_t>(end - bytes_); }
  const char* data() const noexcept { return bytes_; }
  std::size_t size() const noexcept { return size_; }

 private:
  char* bytes_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

class Decoder {
 public:
  // tokens[id] are the bytes of an id; an empty one is an id that stands for nothing.
  explicit Decoder(const std::vector<std::string>& tokens);

  // Appends the bytes of the ids that id_at(0), ..., id_at(n - 1) give, each asked for once.
  // False where one is below zero or has no bytes; what was appended is then not to be used.
  // Bytes: room and wrote as ByteBuffer has them. `seen` has the top bit of a byte set if any
  // byte has it: where none has, the bytes are ASCII.
  template <class IdAt, class Bytes>
  bool decode(std::size_t n, IdAt&& id_at, Bytes* bytes, std::uint64_t* seen) const {
    std::uint64_t words[2], all = 0;
    for (std::size_t begin = 0; begin < n; begin += kBatch) {
      const std::size_t end = n - begin < kBatch ? n : begin + kBatch;
      char* out = bytes->room(kBatch * sizeof(Slot));
      for (std::size_t i = begin; i < end; ++i) {
        const auto id = static_cast<std::uint64_t>(static_cast<std::int64_t>(id_at(i)));
        if (id >= slots_.size()) return false;
        const Slot& slot = slots_[id];
        if (slot.length <= kShort) {
          if (slot.length == 0) return false;
          std::memcpy(words, &slot, sizeof slot);
          std::memcpy(out, words, sizeof slot);
          all |= words[0] | words[1];
          out += slot.length;
          continue;
        }
        const Long found = find_long(slot);
        bytes->wrote(out);
        out = bytes->room(found.size + kBatch * sizeof(Slot));
        std::memcpy(out, found.begin, found.size);
        all |= found.seen;
        out += found.size;
      }
      bytes->wrote(out);
    }
    *seen = all;
    return true;
  }

 private:
  static constexpr std::size_t kBatch = 256;
  static constexpr std::uint8_t kShort = 15, kLong = 255;

  struct Slot {
    std::uint8_t bytes[15];  // with kLong {offset into long_, length}, of 56 and 64 bits
    std::uint8_t length;
  };
  static_assert(sizeof(Slot) == 16, "written by one store");

  struct Long {
    const char* begin;
    std::size_t size;
    std::uint64_t seen;
  };
  Long find_long(const Slot& slot) const noexcept;

  std::vector<Slot> slots_;
  std::string long_;
};

}  // namespace groundup::bpe
