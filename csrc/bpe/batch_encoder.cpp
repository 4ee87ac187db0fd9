#include "bpe/batch_encoder.h"

#include <algorithm>
#include <cstring>

namespace groundup::bpe {
namespace {

// Of no chunk: no short one is so long.
constexpr ChunkKey kNotShort{0, ~std::uint64_t{0}};

}  // namespace

void BatchEncoder::encode(const Batch& batch, std::size_t expected, IdBuffer* ids) {
  const std::size_t room = bytes_in_gaps_ + batch.ends[batch.found - 1] - batch.at + kSlack;
  std::uint32_t* out = ids->room(room, room + expected);
  std::uint32_t* const first = out - ids->size();
  std::size_t at = batch.at;
  for (std::size_t done = 0; done < batch.found;) {
    const std::size_t size = std::min(kBlock, batch.found - done);
    const std::size_t* const ends = batch.ends + done;
    cache_.grow_if_full();
    // Of the last chunks of a text less than a key can be read.
    if (__builtin_expect(batch.n - ends[size - 1] >= sizeof(ChunkKey), 1))
      ask_for_entries<true>(batch.text, batch.n, at, ends, size);
    else
      ask_for_entries<false>(batch.text, batch.n, at, ends, size);
    for (std::size_t i = 0; i < size; ++i) {
      if (__builtin_expect(places_[i]->key == keys_[i], 1)) {
        out = places_[i]->ids.copy_to(out);
        continue;
      }
      if (i > 0) at = ends[i - 1];
      out = encode_elsewhere(batch.text + at, ends[i] - at, i, first, out);
    }
    at = ends[size - 1];
    done += size;
  }
  if (n_gaps_ > 0 && static_cast<std::size_t>(out - first) - gaps_[0].at > kGapIds)
    out = fill_gaps(first, out);
  ids->wrote(out);
}

void BatchEncoder::finish(IdBuffer* ids) {
  std::uint32_t* const out = ids->room(bytes_in_gaps_);
  ids->wrote(fill_gaps(out - ids->size(), out));
}

template <bool kKeysReadable>
void BatchEncoder::ask_for_entries(const std::uint8_t* text, std::size_t n, std::size_t at,
                                   const std::size_t* ends, std::size_t size) noexcept {
  const ChunkCache::Places places = cache_.places();
  for (std::size_t i = 0; i < size; at = ends[i++]) {
    const std::uint8_t* const chunk = text + at;
    const std::size_t length = ends[i] - at;
    if (__builtin_expect(length <= kShortChunk, 1)) {
      keys_[i] = short_key(chunk, length, kKeysReadable ? sizeof(ChunkKey) : n - at);
      places_[i] = places.of(keys_[i]);
    } else {
      keys_[i] = kNotShort;
      places_[i] = places.begin;
      if (length <= ChunkCache::kLongChunk) cache_.prefetch_long(hash_bytes(chunk, length));
    }
    __builtin_prefetch(places_[i]);
  }
}

std::uint32_t* BatchEncoder::encode_elsewhere(const std::uint8_t* chunk, std::size_t n,
                                              std::size_t i, std::uint32_t* ids,
                                              std::uint32_t* out) {
  if (n <= kShortChunk) {
    const ChunkCache::Short* const known = cache_.find_elsewhere(keys_[i], places_[i]);
    if (known == nullptr) return encode_missing(chunk, n, keys_[i], ids, out);
    if (!known->is_long()) return known->ids.copy_to(out);
    if (const ChunkCache::Long* found = cache_.find_long(chunk, n, known->ids.ids[0]))
      return found->copy_to(out);
  } else if (n <= ChunkCache::kLongChunk) {
    if (const ChunkCache::Long* found = cache_.find_long(chunk, n, hash_bytes(chunk, n)))
      return found->copy_to(out);
  }
  return encode_missing(chunk, n, keys_[i], ids, out);
}

std::uint32_t* BatchEncoder::encode_missing(const std::uint8_t* chunk, std::size_t n,
                                            const ChunkKey& key, std::uint32_t* ids,
                                            std::uint32_t* out) {
  if (n > ChunkCache::kLongChunk) {  // too long to be kept
    const std::uint32_t id = whole_chunks_ ? tokens_.find(chunk, n) : TokenTable::kAbsent;
    if (id == TokenTable::kAbsent) return merger_.merge(chunk, n, space_, out);
    *out = id;
    return out + 1;
  }
  if (n_missing_ == kMissing || n_gaps_ == kGaps) out = fill_gaps(ids, out);
  if (n_missing_ == 0) std::memset(by_hash_, 0, sizeof by_hash_);
  const std::uint64_t hash = hash_bytes(chunk, n);
  std::uint8_t& last = by_hash_[hash >> 56];
  const bool again =
      last && missing_[last - 1].n == n && std::memcmp(missing_[last - 1].chunk, chunk, n) == 0;
  if (!again) {
    missing_[n_missing_++] = {key, chunk, n, hash, nullptr, nullptr};
    last = static_cast<std::uint8_t>(n_missing_);
    if (whole_chunks_) tokens_.prefetch_slot(hash);
  }
  gaps_[n_gaps_++] = {static_cast<std::size_t>(out - ids), last - std::size_t{1}};
  bytes_in_gaps_ += n;
  return out;
}

std::uint32_t* BatchEncoder::fill_gaps(std::uint32_t* ids, std::uint32_t* out) {
  find_missing();
  const auto size_of = [&](const Gap& gap) {
    const Missing& missing = missing_[gap.missing];
    return static_cast<std::size_t>(missing.end - missing.begin);
  };
  std::size_t shift = 0;
  for (std::size_t i = 0; i < n_gaps_; ++i) shift += size_of(gaps_[i]);
  std::uint32_t* const end = out + shift;
  // What stands behind a gap moves on by the ids of all gaps before it, the last first.
  for (std::size_t i = n_gaps_; i-- > 0;) {
    std::uint32_t* const behind = ids + gaps_[i].at;
    std::copy_backward(behind, out, out + shift);
    shift -= size_of(gaps_[i]);
    std::copy(missing_[gaps_[i].missing].begin, missing_[gaps_[i].missing].end, behind + shift);
    out = behind;
  }
  for (std::size_t i = 0; i < n_missing_; ++i) keep(missing_[i]);
  begin();
  return end;
}

void BatchEncoder::find_missing() {
  ChunkMerger::Job jobs[kMissing];
  Missing* merged[kMissing];
  std::size_t n_jobs = 0;
  std::uint32_t* out = ids_;
  if (whole_chunks_)
    for (std::size_t i = 0; i < n_missing_; ++i) tokens_.prefetch_token(missing_[i].hash);
  for (std::size_t i = 0; i < n_missing_; ++i) {
    Missing& missing = missing_[i];
    missing.begin = out;
    const std::uint32_t id =
        whole_chunks_ ? tokens_.find(missing.chunk, missing.n, missing.hash) : TokenTable::kAbsent;
    if (id != TokenTable::kAbsent) {
      *out++ = id;
      missing.end = out;
      continue;
    }
    if (missing.n > ChunkMerger::kShortMerge) {
      missing.end = out = merger_.merge(missing.chunk, missing.n, space_, out);
      continue;
    }
    merged[n_jobs] = &missing;
    jobs[n_jobs++] = {missing.chunk, missing.n, out, nullptr};
    out += missing.n;
  }
  merger_.merge_each(jobs, n_jobs);
  for (std::size_t i = 0; i < n_jobs; ++i) merged[i]->end = jobs[i].end;
}

void BatchEncoder::keep(const Missing& missing) noexcept {
  const auto count = static_cast<std::size_t>(missing.end - missing.begin);
  const bool is_short = missing.n <= kShortChunk;
  if (is_short && count <= FewIds::kMost) {
    cache_.keep(missing.key, missing.begin, missing.end);
  } else if (ChunkCache::Long::fits(missing.n, count)) {
    if (is_short) cache_.say_long(missing.key, missing.hash);
    cache_.keep_long(missing.chunk, missing.n, missing.hash, missing.begin, missing.end);
  }
}

}  // namespace groundup::bpe
