#include "bpe/token_table.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace groundup::bpe {

TokenTable::TokenTable(const std::vector<std::string>& tokens) : tokens_(tokens) {
  if (tokens.size() >= kMostTokens)
    throw std::invalid_argument("tokens: expected fewer than 2^24, got " +
                                std::to_string(tokens.size()) + ".");
  std::size_t capacity = 1024;
  while (capacity < tokens.size() * 2) capacity *= 2;
  TableMemory<Slot>(capacity).swap(slots_);
  std::fill(slots_.begin(), slots_.end(), Slot{kAbsent, 0});
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    const std::string& token = tokens[id];
    if (token.empty()) continue;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(token.data());
    const std::uint64_t hash = hash_bytes(bytes, token.size());
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    std::size_t slot = hash & (capacity - 1);
    for (; slots_[slot].id != kAbsent; slot = (slot + 1) & (capacity - 1))
      if (slots_[slot].tag == tag && tokens[slots_[slot].id] == token) break;
    if (slots_[slot].id == kAbsent) slots_[slot] = {id, tag};
  }
}

std::uint32_t TokenTable::find(const std::uint8_t* bytes, std::size_t n,
                               std::uint64_t hash) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    const std::uint32_t id = slots_[slot].id;
    if (id == kAbsent) return kAbsent;
    if (slots_[slot].tag == tag && tokens_[id].size() == n &&
        std::memcmp(tokens_[id].data(), bytes, n) == 0)
      return id;
  }
}

}  // namespace groundup::bpe
