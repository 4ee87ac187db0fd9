#include "bpe/encode.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>

namespace groundup::bpe {
namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFFu;
constexpr std::size_t kShortMerge = 64;  // bytes up to which a scan beats a heap
constexpr std::size_t kCacheSlots = std::size_t{1} << 16;
constexpr std::size_t kKeptParts = std::size_t{1} << 20;
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

IdBuffer::~IdBuffer() { std::free(ids_); }

IdBuffer::IdBuffer(IdBuffer&& other) noexcept
    : ids_(other.ids_), size_(other.size_), capacity_(other.capacity_) {
  other.ids_ = nullptr;
  other.size_ = other.capacity_ = 0;
}

std::uint32_t* IdBuffer::room(std::size_t n) {
  if (capacity_ - size_ < n) {
    const std::size_t capacity = std::max(size_ + n, capacity_ + capacity_ / 2);
    if (capacity > std::size_t{1} << 60) throw std::bad_alloc();
    void* grown = std::realloc(ids_, capacity * sizeof *ids_);
    if (grown == nullptr) throw std::bad_alloc();
    ids_ = static_cast<std::uint32_t*>(grown);
    capacity_ = capacity;
  }
  return ids_ + size_;
}

std::uint32_t* IdBuffer::release() {
  void* cut = std::realloc(ids_, std::max<std::size_t>(size_, 1) * sizeof *ids_);
  if (cut == nullptr) throw std::bad_alloc();
  ids_ = nullptr;
  size_ = capacity_ = 0;
  return static_cast<std::uint32_t*>(cut);
}

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

struct Workspace {
  KeyBatch batch;
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
      merges_(n_merges),
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
  std::uint32_t rank = 0;
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
    const bool shares = whole_chunks_ && row > 0 && merges[3 * row - 1] == id;
    if (!shares) rank = static_cast<std::uint32_t>(row);
    merges_.insert(left, right, {rank, id});
  }
  byte_merges_.resize(65536, {kNone, 0});
  for (int left = 0; left < 256; ++left)
    for (int right = 0; right < 256; ++right)
      if (const Merge* merge = merges_.find(byte_ids_[left], byte_ids_[right]))
        byte_merges_[left << 8 | right] = *merge;
}

Encoder::~Encoder() {
  for (auto& shelf : shelves_) delete shelf.load();
}

void Encoder::encode(const std::uint8_t* text, std::size_t n, IdBuffer* ids) const {
  const Lease workspace(*this);
  for_each_batch(pattern_, text, n,
                 [&](std::size_t at, const std::size_t* ends, std::size_t found) {
                   std::uint32_t* out = ids->room(ends[found - 1] - at + kCachedIds);
                   ids->wrote(encode_batch(text, at, n, ends, found, *workspace, out));
                 });
}

void Encoder::encode_chunks(const std::uint8_t* text, const std::int64_t* given,
                            std::size_t n_chunks, IdBuffer* ids) const {
  const Lease workspace(*this);
  const std::size_t n = n_chunks ? static_cast<std::size_t>(given[n_chunks - 1]) : 0;
  std::size_t ends[kKeyBatch];
  std::size_t at = 0;
  for (std::size_t next = 0; next < n_chunks;) {
    std::size_t found = 0;
    const std::size_t begin = at;
    for (; next < n_chunks && found < kKeyBatch; ++next) {
      const auto end = static_cast<std::size_t>(given[next]);
      if (end > at) ends[found++] = at = end;  // an empty chunk has no ids
    }
    std::uint32_t* out = ids->room(at - begin + kCachedIds);
    ids->wrote(encode_batch(text, begin, n, ends, found, *workspace, out));
  }
}

std::uint32_t* Encoder::encode_batch(const std::uint8_t* text, std::size_t at, std::size_t n,
                                     const std::size_t* ends, std::size_t found,
                                     Workspace& workspace, std::uint32_t* out) const {
  KeyBatch& batch = workspace.batch;
  Cached* const cache = workspace.cache.data();
  batch.fill(text, at, n, ends, found,
             [&](std::uint64_t hash) { __builtin_prefetch(&cache[hash & (kCacheSlots - 1)]); });
  for (std::size_t i = 0; i < found; at = ends[i++]) {
    if (batch.keys[i].high == 0) {
      out = merge_chunk(text + at, ends[i] - at, workspace, out);
      continue;
    }
    Cached& cached = cache[batch.hashes[i] & (kCacheSlots - 1)];
    if (cached.key == batch.keys[i]) {
      const std::uint32_t first = cached.ids[0];
      std::memcpy(out, cached.ids, sizeof cached.ids);  // all: one store; what is not used is
      out[0] = first & ((1u << kIdBits) - 1);           // overwritten by the next chunk
      out += first >> kIdBits;
      continue;
    }
    std::uint32_t* const end = merge_chunk(text + at, ends[i] - at, workspace, out);
    const auto count = static_cast<std::size_t>(end - out);
    if (count <= kCachedIds) {
      cached.key = batch.keys[i];
      std::copy(out, end, cached.ids);
      cached.ids[0] |= static_cast<std::uint32_t>(count) << kIdBits;
    }
    out = end;
  }
  return out;
}

std::uint32_t* Encoder::merge_chunk(const std::uint8_t* chunk, std::size_t n, Workspace& workspace,
                                    std::uint32_t* out) const {
  if (whole_chunks_) {
    const std::uint32_t id = table_.find(chunk, n);
    if (id != kNone) {
      *out = id;
      return out + 1;
    }
  }
  return n <= kShortMerge ? merge_short(chunk, n, out) : merge_long(chunk, n, workspace, out);
}

std::uint32_t* Encoder::merge_short(const std::uint8_t* chunk, std::size_t n,
                                    std::uint32_t* parts) const {
  Merge merges[kShortMerge];  // merges[i]: of parts[i] and parts[i + 1]
  const auto look_up = [&](std::size_t i) {
    const Merge* merge = merges_.find(parts[i], parts[i + 1]);
    merges[i] = merge ? *merge : Merge{kNone, 0};
  };
  for (std::size_t i = 0; i < n; ++i) parts[i] = byte_ids_[chunk[i]];
  for (std::size_t i = 0; i + 1 < n; ++i) merges[i] = byte_merges_[chunk[i] << 8 | chunk[i + 1]];
  while (n > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == kNone) break;
    parts[best] = merges[best].id;
    --n;
    for (std::size_t i = best + 1; i < n; ++i) parts[i] = parts[i + 1];
    for (std::size_t i = best + 1; i + 1 < n; ++i) merges[i] = merges[i + 1];
    if (best + 1 < n) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  return parts + n;
}

std::uint32_t* Encoder::merge_long(const std::uint8_t* chunk, std::size_t n, Workspace& workspace,
                                   std::uint32_t* out) const {
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
    const Merge* merge = merges_.find(parts[at].id, right);
    if (merge) heap.push_back({merge->rank, at, parts[at].id, right, merge->id});
    return merge != nullptr;
  };
  for (std::uint32_t at = 0; at + 1 < n; ++at) wait(at);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Waiting best = heap.back();
    heap.pop_back();
    // Out of date when either part has been merged since; a part only ever grows, so equal ids at
    // an unmoved start mean the same parts.
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
  for (std::uint32_t at = 0; at != kNone; at = parts[at].next) *out++ = parts[at].id;
  // One giant chunk must not hold its memory for the encoder's life.
  if (parts.capacity() > kKeptParts) std::vector<Part>().swap(parts);
  if (heap.capacity() > kKeptParts) std::vector<Waiting>().swap(heap);
  return out;
}

}  // namespace groundup::bpe
