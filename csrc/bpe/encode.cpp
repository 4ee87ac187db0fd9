#include "bpe/encode.h"

#include <algorithm>
#include <stdexcept>

namespace groundup::bpe {
namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFFu;
constexpr std::size_t kShortMerge = 64;  // bytes up to which a scan beats a heap
constexpr std::size_t kCacheSlots = std::size_t{1} << 16;
constexpr std::size_t kCachedIds = 4;
constexpr std::uint32_t kIdBits = 29;  // the cached ids' number stands above the first id

// A chunk of up to 15 bytes and its ids.
struct Cached {
  ChunkKey key;
  std::uint32_t ids[kCachedIds];
};
static_assert(sizeof(Cached) == 32, "two to a cache line");

struct Part {
  std::uint32_t id;
  std::uint32_t next;
  std::uint32_t previous;
};

struct Waiting {  // a pair in the heap of a long chunk
  std::uint32_t rank;
  std::uint32_t at;  // the left part
  std::uint32_t left;
  std::uint32_t right;
  std::uint32_t id;
  bool operator<(const Waiting& other) const noexcept {  // the best on top
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

}  // namespace

TokenTable::TokenTable(const std::vector<std::string>& tokens) : tokens_(tokens) {
  if (tokens.size() >= std::size_t{1} << kIdBits)
    throw std::invalid_argument("tokens: expected fewer than 2^29, got " +
                                std::to_string(tokens.size()) + ".");
  std::size_t capacity = 1024;
  while (capacity < tokens.size() * 2) capacity *= 2;
  slots_.assign(capacity, kAbsent);
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(tokens[id].data());
    const std::size_t n = tokens[id].size();
    if (n == 0 || find(bytes, n) != kAbsent) continue;
    std::size_t slot = hash_bytes(bytes, n) & (capacity - 1);
    while (slots_[slot] != kAbsent) slot = (slot + 1) & (capacity - 1);
    slots_[slot] = id;
  }
}

std::uint32_t TokenTable::find(const std::uint8_t* bytes, std::size_t n) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = hash_bytes(bytes, n) & mask;; slot = (slot + 1) & mask) {
    const std::uint32_t id = slots_[slot];
    if (id == kAbsent) return kAbsent;
    if (tokens_[id].size() == n && std::memcmp(tokens_[id].data(), bytes, n) == 0) return id;
  }
}

std::vector<std::uint32_t> all_splits(const std::vector<std::string>& tokens) {
  const TokenTable table(tokens);
  std::vector<std::uint32_t> rows;
  for (std::uint32_t id = 0; id < tokens.size(); ++id) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(tokens[id].data());
    const std::size_t n = tokens[id].size();
    for (std::size_t cut = 1; cut < n; ++cut) {
      const std::uint32_t left = table.find(bytes, cut);
      if (left == TokenTable::kAbsent) continue;
      const std::uint32_t right = table.find(bytes + cut, n - cut);
      if (right != TokenTable::kAbsent) rows.insert(rows.end(), {left, right, id});
    }
  }
  return rows;
}

struct Workspace {
  std::vector<Cached> cache = std::vector<Cached>(kCacheSlots);
  std::vector<Part> parts;
  std::vector<Waiting> heap;
};

class Encoder::Lease {
 public:
  explicit Lease(const Encoder& encoder) : encoder_(encoder) {
    for (auto& shelf : encoder_.shelves_)
      if (shelf.load(std::memory_order_relaxed))
        if ((workspace_ = shelf.exchange(nullptr, std::memory_order_acquire))) return;
    workspace_ = new Workspace;
  }
  ~Lease() {
    for (auto& shelf : encoder_.shelves_) {
      Workspace* empty = nullptr;
      if (shelf.compare_exchange_strong(empty, workspace_, std::memory_order_release)) return;
    }
    delete workspace_;
  }
  Workspace& operator*() const noexcept { return *workspace_; }

 private:
  const Encoder& encoder_;
  Workspace* workspace_ = nullptr;
};

Encoder::Encoder(std::vector<std::string> tokens, const std::uint32_t* merges, std::size_t n_merges,
                 Pattern pattern, bool whole_chunks)
    : tokens_(std::move(tokens)),
      table_(tokens_),
      pairs_(n_merges),
      pattern_(pattern),
      whole_chunks_(whole_chunks) {
  if (n_merges >= kNone)
    throw std::invalid_argument("merges: expected fewer than 2^32 - 1 rows, got " +
                                std::to_string(n_merges) + ".");
  for (int byte = 0; byte < 256; ++byte) {
    const auto bytes = static_cast<std::uint8_t>(byte);
    byte_ids_[byte] = table_.find(&bytes, 1);
    if (byte_ids_[byte] == kNone)
      throw std::invalid_argument("tokens: expected a token for each of the 256 bytes, but byte " +
                                  std::to_string(byte) + " has none.");
  }
  rows_.reserve(n_merges);
  for (std::size_t row = 0; row < n_merges; ++row) {
    const std::uint32_t left = merges[3 * row], right = merges[3 * row + 1],
                        id = merges[3 * row + 2];
    const auto where = [&] { return "merges row " + std::to_string(row) + ": "; };
    for (const std::uint32_t each : {left, right, id})
      if (each >= tokens_.size())
        throw std::invalid_argument(where() + "expected ids below " +
                                    std::to_string(tokens_.size()) + ", got " +
                                    std::to_string(each) + ".");
    if (tokens_[left].empty() || tokens_[right].empty() ||
        tokens_[left].size() + tokens_[right].size() != tokens_[id].size() ||
        tokens_[id].compare(0, tokens_[left].size(), tokens_[left]) != 0 ||
        tokens_[id].compare(tokens_[left].size(), std::string::npos, tokens_[right]) != 0)
      throw std::invalid_argument(where() + "expected token " + std::to_string(id) +
                                  " to be the bytes of token " + std::to_string(left) +
                                  " followed by those of token " + std::to_string(right) + ".");
    // A pair that comes again has its rank from its first row (Hugging Face's trainer writes such).
    pairs_.find_or_insert(pack_pair(left, right), static_cast<std::uint32_t>(row));
    const bool shares = whole_chunks_ && row > 0 && rows_.back().id == id;
    rows_.push_back({shares ? rows_.back().rank : static_cast<std::uint32_t>(row), id});
  }
}

Encoder::~Encoder() {
  for (auto& shelf : shelves_) delete shelf.load();
}

void Encoder::encode(const std::uint8_t* text, std::size_t n,
                     std::vector<std::uint32_t>* ids) const {
  const Lease workspace(*this);
  for_each_chunk(pattern_, text, n, [&](std::size_t begin, std::size_t end) {
    encode_chunk(text + begin, end - begin, n - begin, *workspace, ids);
  });
}

void Encoder::encode_chunks(const std::uint8_t* text, const std::int64_t* ends,
                            std::size_t n_chunks, std::vector<std::uint32_t>* ids) const {
  const Lease workspace(*this);
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < n_chunks; begin = ends[i++])
    if (ends[i] > begin)
      encode_chunk(text + begin, ends[i] - begin, ends[n_chunks - 1] - begin, *workspace, ids);
}

void Encoder::encode_chunk(const std::uint8_t* chunk, std::size_t n, std::size_t readable,
                           Workspace& workspace, std::vector<std::uint32_t>* ids) const {
  if (n > kShortChunk) return merge_chunk(chunk, n, workspace, ids);
  const ChunkKey key = short_key(chunk, n, readable);
  Cached& cached = workspace.cache[hash_key(key) & (kCacheSlots - 1)];
  if (cached.key == key) {
    const std::uint32_t count = cached.ids[0] >> kIdBits;
    ids->push_back(cached.ids[0] & ((1u << kIdBits) - 1));
    for (std::uint32_t i = 1; i < count; ++i) ids->push_back(cached.ids[i]);
    return;
  }
  const std::size_t before = ids->size();
  merge_chunk(chunk, n, workspace, ids);
  const std::size_t count = ids->size() - before;
  if (count > kCachedIds) return;
  cached.key = key;
  std::copy(ids->begin() + before, ids->end(), cached.ids);
  cached.ids[0] |= static_cast<std::uint32_t>(count) << kIdBits;
}

void Encoder::merge_chunk(const std::uint8_t* chunk, std::size_t n, Workspace& workspace,
                          std::vector<std::uint32_t>* ids) const {
  if (whole_chunks_) {
    const std::uint32_t id = table_.find(chunk, n);
    if (id != kNone) return ids->push_back(id);
  }
  return n <= kShortMerge ? merge_short(chunk, n, ids) : merge_long(chunk, n, workspace, ids);
}

void Encoder::merge_short(const std::uint8_t* chunk, std::size_t n,
                          std::vector<std::uint32_t>* ids) const {
  std::uint32_t parts[kShortMerge];
  std::uint32_t rows[kShortMerge];  // rows[i]: the pair (parts[i], parts[i + 1])
  std::uint32_t ranks[kShortMerge];
  const auto look_up = [&](std::size_t i) {
    rows[i] = row_of(parts[i], parts[i + 1]);
    ranks[i] = rows[i] == kNone ? kNone : rows_[rows[i]].rank;
  };
  for (std::size_t i = 0; i < n; ++i) parts[i] = byte_ids_[chunk[i]];
  for (std::size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNone) break;
    parts[best] = rows_[rows[best]].id;
    --n;
    for (std::size_t i = best + 1; i < n; ++i) parts[i] = parts[i + 1];
    for (std::size_t i = best + 1; i + 1 < n; ++i) {
      rows[i] = rows[i + 1];
      ranks[i] = ranks[i + 1];
    }
    if (best + 1 < n) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  ids->insert(ids->end(), parts, parts + n);
}

void Encoder::merge_long(const std::uint8_t* chunk, std::size_t n, Workspace& workspace,
                         std::vector<std::uint32_t>* ids) const {
  if (n >= kNone)
    throw std::invalid_argument("text: expected chunks shorter than 2^32 - 1 bytes, got one of " +
                                std::to_string(n) + "; cut the text or use a pattern that does.");
  std::vector<Part>& parts = workspace.parts;
  std::vector<Waiting>& heap = workspace.heap;
  parts.resize(n);
  heap.clear();
  for (std::uint32_t at = 0; at < n; ++at)
    parts[at] = {byte_ids_[chunk[at]], at + 1 < n ? at + 1 : kNone, at - 1};
  const auto wait = [&](std::uint32_t at) {
    const std::uint32_t right = parts[parts[at].next].id;
    const std::uint32_t row = row_of(parts[at].id, right);
    if (row == kNone) return false;
    heap.push_back({rows_[row].rank, at, parts[at].id, right, rows_[row].id});
    return true;
  };
  for (std::uint32_t at = 0; at + 1 < n; ++at) wait(at);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Waiting best = heap.back();
    heap.pop_back();
    // Out of date when either part has been merged since; ids only ever grow in bytes, so equal
    // ids at an unmoved start mean the same parts.
    Part& part = parts[best.at];
    if (part.id != best.left || part.next == kNone || parts[part.next].id != best.right) continue;
    parts[part.next].id = kNone;
    part.id = best.id;
    part.next = parts[part.next].next;
    if (part.next != kNone) {
      parts[part.next].previous = best.at;
      if (wait(best.at)) std::push_heap(heap.begin(), heap.end());
    }
    if (best.at > 0 && wait(part.previous)) std::push_heap(heap.begin(), heap.end());
  }
  for (std::uint32_t at = 0; at != kNone; at = parts[at].next) ids->push_back(parts[at].id);
  // One giant chunk must not hold its memory for the encoder's life.
  if (parts.capacity() > (std::size_t{1} << 20)) std::vector<Part>().swap(parts);
  if (heap.capacity() > (std::size_t{1} << 20)) std::vector<Waiting>().swap(heap);
}

}  // namespace groundup::bpe
