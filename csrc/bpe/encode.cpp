#include "bpe/encode.h"

#include <algorithm>

#include "bpe/chunk_cache.h"

namespace groundup::bpe {
namespace {

// Chunks looked up together: enough to hide the memory behind, few enough that the lines asked for
// are still in the nearest cache when they are read.
constexpr std::size_t kBlock = 128;
constexpr std::size_t kSlack = 8;  // ids that may be written beyond the last one

// Of no chunk: no short one is so long.
constexpr ChunkKey kNotShort{0, ~std::uint64_t{0}};

// How many ids text[at, n) will probably have, when text[0, at) had n_ids: memory that is taken
// once and nearly all used costs half of what growing costs.
std::size_t ids_of_rest(std::size_t at, std::size_t n, std::size_t n_ids) noexcept {
  constexpr std::size_t kTelling = std::size_t{1} << 15;
  if (at < kTelling) return std::min(n - at, kTelling) / 2;
  const double rate = static_cast<double>(n_ids) / static_cast<double>(at);
  return static_cast<std::size_t>(1.05 * rate * static_cast<double>(n - at));
}

// Calls visit(at, ends, found) for batches of the given chunks that are not empty.
template <class Visit>
void for_each_given(const std::int64_t* given, std::size_t n_chunks, Visit&& visit) {
  std::size_t ends[kSplitBatch];
  std::size_t at = 0;
  for (std::size_t next = 0; next < n_chunks;) {
    std::size_t found = 0;
    const std::size_t begin = at;
    for (; next < n_chunks && found < kSplitBatch; ++next) {
      const auto end = static_cast<std::size_t>(given[next]);
      if (end > at) ends[found++] = at = end;
    }
    if (found > 0) visit(begin, ends, found);
  }
}

}  // namespace

struct Workspace {
  ChunkKey keys[kBlock];
  ChunkCache::Pair* pairs[kBlock];
  ChunkCache cache;
  ChunkMerger::Space space;
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
      merger_(tokens_, table_, merges, n_merges, whole_chunks),
      pattern_(pattern),
      whole_chunks_(whole_chunks) {}

Encoder::~Encoder() {
  for (auto& shelf : shelves_) delete shelf.load();
}

void Encoder::encode(const std::uint8_t* text, std::size_t n, IdBuffer* ids) const {
  const Lease workspace(*this);
  const std::size_t n_before = ids->size();
  for_each_batch(pattern_, text, n,
                 [&](std::size_t at, const std::size_t* ends, std::size_t found) {
                   const std::size_t size = ends[found - 1] - at + kSlack;
                   const std::size_t rest = ids_of_rest(at, n, ids->size() - n_before);
                   std::uint32_t* out = ids->room(size, size + rest);
                   ids->wrote(encode_block(text, at, n, ends, found, *workspace, out));
                 });
}

void Encoder::encode_chunks(const std::uint8_t* text, const std::int64_t* given,
                            std::size_t n_chunks, IdBuffer* ids) const {
  const Lease workspace(*this);
  const std::size_t n = n_chunks ? static_cast<std::size_t>(given[n_chunks - 1]) : 0;
  for_each_given(given, n_chunks, [&](std::size_t at, const std::size_t* ends, std::size_t found) {
    std::uint32_t* out = ids->room(ends[found - 1] - at + kSlack);
    ids->wrote(encode_block(text, at, n, ends, found, *workspace, out));
  });
}

void Encoder::encode_with_dropout(const std::uint8_t* text, std::size_t n, double dropout,
                                  RandomBits& random, IdBuffer* ids) const {
  ChunkMerger::Space space;
  for_each_batch(
      pattern_, text, n, [&](std::size_t at, const std::size_t* ends, std::size_t found) {
        std::uint32_t* out = ids->room(ends[found - 1] - at);
        for (std::size_t i = 0; i < found; at = ends[i++])
          out = merger_.merge_with_dropout(text + at, ends[i] - at, space, dropout, random, out);
        ids->wrote(out);
      });
}

void Encoder::encode_chunks_with_dropout(const std::uint8_t* text, const std::int64_t* given,
                                         std::size_t n_chunks, double dropout, RandomBits& random,
                                         IdBuffer* ids) const {
  ChunkMerger::Space space;
  for_each_given(given, n_chunks, [&](std::size_t at, const std::size_t* ends, std::size_t found) {
    std::uint32_t* out = ids->room(ends[found - 1] - at);
    for (std::size_t i = 0; i < found; at = ends[i++])
      out = merger_.merge_with_dropout(text + at, ends[i] - at, space, dropout, random, out);
    ids->wrote(out);
  });
}

std::uint32_t* Encoder::encode_block(const std::uint8_t* text, std::size_t at, std::size_t n,
                                     const std::size_t* ends, std::size_t found,
                                     Workspace& workspace, std::uint32_t* out) const {
  ChunkCache& cache = workspace.cache;
  ChunkKey* const keys = workspace.keys;
  ChunkCache::Pair** const pairs = workspace.pairs;
  while (found > 0) {
    const std::size_t block = std::min(found, kBlock);
    std::size_t begin = at;
    for (std::size_t i = 0; i < block; ++i) {
      const std::size_t size = ends[i] - at;
      if (size <= kShortChunk) {
        keys[i] = short_key(text + at, size, n - at);
        pairs[i] = &cache.pair_at(hash_key(keys[i]));
      } else {
        keys[i] = kNotShort;
        pairs[i] = &cache.pair_at(0);
        if (size <= ChunkCache::kLongChunk)
          __builtin_prefetch(&cache.long_at(hash_bytes(text + at, size)));
      }
      __builtin_prefetch(pairs[i]);
      at = ends[i];
    }
    for (std::size_t i = 0; i < block; ++i) {
      const ChunkCache::Short& cached = pairs[i]->way_of(keys[i]);
      if (__builtin_expect(cached.key == keys[i], 1)) {
        out = cached.ids.copy_to(out);
        continue;
      }
      if (i > 0) begin = ends[i - 1];
      out = encode_missing(text + begin, ends[i] - begin, keys[i], pairs[i], workspace, out);
    }
    ends += block;
    found -= block;
  }
  return out;
}

std::uint32_t* Encoder::encode_missing(const std::uint8_t* chunk, std::size_t n,
                                       const ChunkKey& key, ChunkCache::Pair* pair,
                                       Workspace& workspace, std::uint32_t* out) const {
  const bool is_short = n <= kShortChunk, is_known_long = is_short && pair->says_long(key);
  ChunkCache::Long* long_entry = nullptr;
  if (n <= ChunkCache::kLongChunk && (!is_short || is_known_long)) {
    long_entry = &workspace.cache.long_at(hash_bytes(chunk, n));
    if (long_entry->holds(chunk, n)) return long_entry->ids.copy_to(out);
  }
  std::uint32_t* end = out;
  const std::uint32_t id = whole_chunks_ ? table_.find(chunk, n) : TokenTable::kAbsent;
  if (id != TokenTable::kAbsent)
    *end++ = id;
  else
    end = merger_.merge(chunk, n, workspace.space, out);
  const auto count = static_cast<std::size_t>(end - out);
  if (is_short && count <= ChunkCache::kShortIds) {
    pair->add(key, out, end);
  } else if (n <= ChunkCache::kLongChunk && count <= ChunkCache::kLongIds) {
    if (is_short && !is_known_long) pair->say_long(key);
    workspace.cache.long_at(hash_bytes(chunk, n)).set(chunk, n, out, end);
  }
  return end;
}

}  // namespace groundup::bpe
