#include "bpe/ranks.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "bpe/encode.h"

namespace groundup::bpe {
namespace {

constexpr std::size_t kMaxRanks = std::size_t{1} << 24;
constexpr std::size_t kMaxRows = std::size_t{1} << 22;
constexpr std::size_t kMaxRowBytes = std::size_t{1} << 30;
constexpr std::uint32_t kNone = 0xFFFFFFFFu;

struct Base64 {
  std::uint8_t value[256];
  constexpr Base64() : value() {
    for (int byte = 0; byte < 256; ++byte) value[byte] = 64;
    const char* letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 64; ++i) value[static_cast<std::uint8_t>(letters[i])] = i;
  }
};
constexpr Base64 kBase64;

// Strict: whole groups of four, padded; false otherwise.
bool decode_base64(const char* at, const char* end, std::string* token) {
  if (at == end || (end - at) % 4) return false;
  token->clear();
  for (; at < end; at += 4) {
    const bool last = at + 4 == end;
    const int n = last && at[3] == '=' ? (at[2] == '=' ? 1 : 2) : 3;
    std::uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) {
      const std::uint8_t value = kBase64.value[static_cast<std::uint8_t>(at[i])];
      if (i <= n && value == 64) return false;
      bits = bits << 6 | (i <= n ? value : 0);
    }
    const char bytes[3] = {static_cast<char>(bits >> 16), static_cast<char>(bits >> 8),
                           static_cast<char>(bits)};
    token->append(bytes, static_cast<std::size_t>(n));
  }
  return true;
}

struct Item {
  std::uint64_t key;  // its first eight bytes, first byte on top
  const char* bytes;
  std::size_t size;
  std::uint32_t id;
};

bool before(const Item& a, const Item& b) {
  if (a.key != b.key) return a.key < b.key;
  const int order = std::memcmp(a.bytes, b.bytes, std::min(a.size, b.size));
  if (order) return order < 0;
  return a.size != b.size ? a.size < b.size : a.id < b.id;
}

// parents[id]: the longest shorter token that token id begins with, of equals the first. Its bytes
// stand at bytes_of(id), in the order in which they count here.
template <class BytesOf>
std::vector<std::uint32_t> parents_of(const std::vector<std::string>& tokens, BytesOf&& bytes_of) {
  std::vector<Item> items;
  items.reserve(tokens.size());
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    Item item{0, bytes_of(id), tokens[id].size(), id};
    for (std::size_t i = 0; i < 8; ++i)
      item.key = item.key << 8 | (i < item.size ? static_cast<std::uint8_t>(item.bytes[i]) : 0);
    items.push_back(item);
  }
  std::sort(items.begin(), items.end(), before);
  std::vector<std::uint32_t> parents(tokens.size(), kNone);
  std::vector<const Item*> open;  // each begins with the one below it
  for (const Item& item : items) {
    while (!open.empty() && (open.back()->size > item.size ||
                             std::memcmp(open.back()->bytes, item.bytes, open.back()->size)))
      open.pop_back();
    if (!open.empty() && open.back()->size == item.size) {
      parents[item.id] = parents[open.back()->id];
      continue;
    }
    if (!open.empty()) parents[item.id] = open.back()->id;
    open.push_back(&item);
  }
  return parents;
}

}  // namespace

bool read_ranks(const char* lines, std::size_t n, std::vector<std::string>* tokens) {
  tokens->clear();
  std::string token;
  for (const char *at = lines, *end = lines + n; at < end;) {
    const auto left = static_cast<std::size_t>(end - at);
    const auto* line_end = static_cast<const char*>(std::memchr(at, '\n', left));
    if (line_end == nullptr) line_end = end;
    if (at == line_end) {  // a line may be empty
      ++at;
      continue;
    }
    const auto length = static_cast<std::size_t>(line_end - at);
    const auto* space = static_cast<const char*>(std::memchr(at, ' ', length));
    if (space == nullptr || !decode_base64(at, space, &token)) return false;
    const char* digit = space + 1;
    if (digit == line_end || line_end - digit > 8) return false;
    std::size_t rank = 0;
    for (; digit < line_end; ++digit) {
      if (*digit < '0' || *digit > '9') return false;
      rank = rank * 10 + static_cast<std::size_t>(*digit - '0');
    }
    if (rank >= kMaxRanks) return false;
    if (rank >= tokens->size()) tokens->resize(rank + 1);
    if (!(*tokens)[rank].empty()) return false;
    (*tokens)[rank] = token;
    at = line_end + (line_end < end);
  }
  if (tokens->empty()) return false;
  const TokenTable table(*tokens);
  for (std::uint32_t id = 0; id < tokens->size(); ++id) {
    const std::string& each = (*tokens)[id];
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(each.data());
    if (!each.empty() && table.find(bytes, each.size()) != id) return false;
  }
  return true;
}

std::vector<std::uint32_t> all_splits(const std::vector<std::string>& tokens) {
  std::size_t n_bytes = 0;
  for (const std::string& token : tokens) n_bytes += token.size();
  std::string reversed;
  reversed.reserve(n_bytes);
  std::vector<std::size_t> begins;
  begins.reserve(tokens.size());
  for (const std::string& token : tokens) {
    begins.push_back(reversed.size());
    reversed.append(token.rbegin(), token.rend());
  }
  const auto starts = parents_of(tokens, [&](std::uint32_t id) { return tokens[id].data(); });
  const auto ends =
      parents_of(tokens, [&](std::uint32_t id) { return reversed.data() + begins[id]; });

  std::vector<std::uint32_t> rows;
  std::vector<std::uint32_t> chain;  // the tokens that this one begins with, longest first
  std::size_t row_bytes = 0;
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    std::uint32_t right = ends[id];
    chain.clear();
    if (right == kNone) continue;
    for (std::uint32_t left = starts[id]; left != kNone; left = starts[left]) chain.push_back(left);
    // Cuts from the left: beginnings grow while ends shrink.
    for (std::size_t i = chain.size(); i-- > 0 && right != kNone;) {
      const std::uint32_t left = chain[i];
      const std::size_t wanted = tokens[id].size() - tokens[left].size();
      while (right != kNone && tokens[right].size() > wanted) right = ends[right];
      if (right == kNone || tokens[right].size() != wanted) continue;
      rows.insert(rows.end(), {left, right, id});
      row_bytes += tokens[id].size();
      if (rows.size() > 3 * kMaxRows || row_bytes > kMaxRowBytes)
        throw std::invalid_argument(
            "tokens: expected at most 2^22 ways to cut tokens into two tokens, and of 2^30 bytes "
            "in all, got more; such tokens repeat each other and are no vocabulary of a text.");
    }
  }
  return rows;
}

}  // namespace groundup::bpe
