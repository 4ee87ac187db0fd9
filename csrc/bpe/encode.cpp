#include "bpe/encode.h"

#include <algorithm>

#include "bpe/batch_encoder.h"

namespace groundup::bpe {
namespace {

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

class Encoder::Lease {
 public:
  explicit Lease(const Encoder& encoder) : encoder_(encoder) {
    for (auto& shelf : encoder_.shelves_)
      if (shelf.load(std::memory_order_relaxed))
        if ((workspace_ = shelf.exchange(nullptr, std::memory_order_acquire))) return;
    workspace_ = new BatchEncoder(encoder_.table_, encoder_.merger_, encoder_.whole_chunks_);
  }
  ~Lease() {
    for (auto& shelf : encoder_.shelves_) {
      BatchEncoder* empty = nullptr;
      if (shelf.compare_exchange_strong(empty, workspace_, std::memory_order_release)) return;
    }
    delete workspace_;
  }
  BatchEncoder& operator*() const noexcept { return *workspace_; }

 private:
  const Encoder& encoder_;
  BatchEncoder* workspace_ = nullptr;
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
  const Lease lease(*this);
  BatchEncoder& batches = *lease;
  const std::size_t n_before = ids->size();
  batches.begin();
  for_each_batch(pattern_, text, n,
                 [&](std::size_t at, const std::size_t* ends, std::size_t found) {
                   const std::size_t known = at - batches.bytes_in_gaps();
                   const std::size_t rest = ids_of_rest(known, n, ids->size() - n_before);
                   batches.encode({text, n, at, ends, found}, rest, ids);
                 });
  batches.finish(ids);
}

void Encoder::encode_chunks(const std::uint8_t* text, const std::int64_t* given,
                            std::size_t n_chunks, IdBuffer* ids) const {
  const Lease lease(*this);
  BatchEncoder& batches = *lease;
  const std::size_t n = n_chunks ? static_cast<std::size_t>(given[n_chunks - 1]) : 0;
  batches.begin();
  for_each_given(given, n_chunks, [&](std::size_t at, const std::size_t* ends, std::size_t found) {
    batches.encode({text, n, at, ends, found}, 0, ids);
  });
  batches.finish(ids);
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

}  // namespace groundup::bpe
