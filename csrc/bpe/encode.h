// Stage 4: text to ids.
//
// A chunk is looked up in a cache, then (whole_chunks) among the tokens, and only then merged.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bpe/chunk_merger.h"
#include "bpe/id_buffer.h"
#include "bpe/random_bits.h"
#include "bpe/split.h"
#include "bpe/token_table.h"

namespace groundup::bpe {

class BatchEncoder;  // what one thread needs while it encodes, its cache with it: never shared

class Encoder {
 public:
  // tokens[id] are the bytes of an id; an empty one is an id that no text gives. merges are
  // n_merges rows (left, right, id), lowest rank first. With whole_chunks, as in tiktoken, a chunk
  // that is a token is that token, and neighbouring rows with one id share one rank. Throws
  // std::invalid_argument for a byte without token, an id out of range, or a row whose bytes are
  // not those of its id.
  Encoder(std::vector<std::string> tokens, const std::uint32_t* merges, std::size_t n_merges,
          Pattern pattern, bool whole_chunks);
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Appends the ids of text[0, n), valid UTF-8. Safe to call from several threads.
  void encode(const std::uint8_t* text, std::size_t n, IdBuffer* ids) const;
  // The same for chunks that someone else cut: chunk i ends at ends[i].
  void encode_chunks(const std::uint8_t* text, const std::int64_t* ends, std::size_t n_chunks,
                     IdBuffer* ids) const;
  // Both by BPE-dropout, 0 < dropout <= 1: no chunk is a token at once, and none is cached.
  void encode_with_dropout(const std::uint8_t* text, std::size_t n, double dropout,
                           RandomBits& random, IdBuffer* ids) const;
  void encode_chunks_with_dropout(const std::uint8_t* text, const std::int64_t* ends,
                                  std::size_t n_chunks, double dropout, RandomBits& random,
                                  IdBuffer* ids) const;

  Pattern pattern() const noexcept { return pattern_; }
  std::size_t n_tokens() const noexcept { return tokens_.size(); }
  const std::string& token(std::uint32_t id) const { return tokens_[id]; }

 private:
  class Lease;  // holds a batch encoder for one call

  std::vector<std::string> tokens_;
  TokenTable table_;
  ChunkMerger merger_;
  Pattern pattern_;
  bool whole_chunks_;

  // Batch encoders at rest: what one call has cached the next one finds. Taken and returned by
  // atomic exchange: no lock that a fork could leave locked in the child.
  static constexpr std::size_t kShelves = 64;
  mutable std::atomic<BatchEncoder*> shelves_[kShelves] = {};
};

}  // namespace groundup::bpe
