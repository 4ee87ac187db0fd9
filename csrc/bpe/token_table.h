// Finds ids by the bytes of tokens. Of equal tokens the first stands; empty ones are never found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bpe/chunk_key.h"
#include "bpe/table_memory.h"

namespace groundup::bpe {

constexpr std::size_t kMostTokens = std::size_t{1} << 24;

class TokenTable {
 public:
  static constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;
  // `tokens` must outlive it. Throws std::invalid_argument for 2^24 and more.
  explicit TokenTable(const std::vector<std::string>& tokens);
  std::uint32_t find(const std::uint8_t* bytes, std::size_t n) const noexcept {
    return find(bytes, n, hash_bytes(bytes, n));
  }

  // The same for several at once, whose memory is asked for before it is read: first the slot of
  // each hash, then the token in each.
  std::uint32_t find(const std::uint8_t* bytes, std::size_t n, std::uint64_t hash) const noexcept;
  void prefetch_slot(std::uint64_t hash) const noexcept {
    __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
  }
  void prefetch_token(std::uint64_t hash) const noexcept {
    const Slot slot = slots_[hash & (slots_.size() - 1)];
    if (slot.id != kAbsent && slot.tag == hash >> 32) __builtin_prefetch(&tokens_[slot.id]);
  }

 private:
  // The hash's upper half beside the id: a token's bytes are only looked at when they are, nearly
  // surely, the ones asked for.
  struct Slot {
    std::uint32_t id;
    std::uint32_t tag;
  };

  const std::vector<std::string>& tokens_;
  TableMemory<Slot> slots_;
};

}  // namespace groundup::bpe
