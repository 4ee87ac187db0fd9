// One thread's encoding of chunks, a batch at a time.
//
// Nearly every chunk stands in a cache, whose lines are asked for some chunks ahead. One that does
// not leaves a gap in the ids and is put on a list, so that the chunks of a list wait for memory
// together and not one after another; when it is long enough their ids are worked out and the gaps
// filled.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bpe/chunk_cache.h"
#include "bpe/chunk_key.h"
#include "bpe/chunk_merger.h"
#include "bpe/id_buffer.h"
#include "bpe/split.h"
#include "bpe/token_table.h"

namespace groundup::bpe {

class BatchEncoder {
 public:
  // With whole_chunks a chunk that is a token is that token. Both tables must outlive it.
  BatchEncoder(const TokenTable& tokens, const ChunkMerger& merger, bool whole_chunks)
      : tokens_(tokens), merger_(merger), whole_chunks_(whole_chunks) {}

  // Chunks of text[0, n): the first starts at `at`, chunk i < found <= kSplitBatch ends at ends[i];
  // none is empty.
  struct Batch {
    const std::uint8_t* text;
    std::size_t n;
    std::size_t at;
    const std::size_t* ends;
    std::size_t found;
  };

  // Between begin and finish go the batches of one text, which must stay where it is; `ids` are
  // complete when it is finished. Memory is taken for `expected` more, if it has to be taken.
  void begin() noexcept { n_missing_ = n_gaps_ = bytes_in_gaps_ = 0; }
  void encode(const Batch& batch, std::size_t expected, IdBuffer* ids);
  void finish(IdBuffer* ids);
  // Of the text so far, what has no ids yet.
  std::size_t bytes_in_gaps() const noexcept { return bytes_in_gaps_; }

 private:
  static constexpr std::size_t kBlock = 128;       // chunks whose entries are asked for together
  static constexpr std::size_t kMissing = 64;      // different chunks on the list
  static constexpr std::size_t kGaps = 256;        // that they leave
  static constexpr std::size_t kGapIds = 1 << 14;  // ids that are still in a near cache when moved
  static constexpr std::size_t kSlack = 8;         // ids that may be written beyond the last one

  struct Missing {
    ChunkKey key;
    const std::uint8_t* chunk;
    std::size_t n;
    std::uint64_t hash;
    const std::uint32_t* begin;
    const std::uint32_t* end;
  };
  struct Gap {
    std::size_t at;  // among the ids written so far
    std::size_t missing;
  };

  // kKeysReadable: as many bytes as a key has may be read from any of the chunks on.
  template <bool kKeysReadable>
  void ask_for_entries(const std::uint8_t* text, std::size_t n, std::size_t at,
                       const std::size_t* ends, std::size_t size) noexcept;
  // Chunk i of the block, which does not stand at its place.
  std::uint32_t* encode_elsewhere(const std::uint8_t* chunk, std::size_t n, std::size_t i,
                                  std::uint32_t* ids, std::uint32_t* out);
  std::uint32_t* encode_missing(const std::uint8_t* chunk, std::size_t n, const ChunkKey& key,
                                std::uint32_t* ids, std::uint32_t* out);
  std::uint32_t* fill_gaps(std::uint32_t* ids, std::uint32_t* out);
  void find_missing();
  void keep(const Missing& missing) noexcept;

  const TokenTable& tokens_;
  const ChunkMerger& merger_;
  const bool whole_chunks_;

  ChunkCache cache_;
  ChunkMerger::Space space_;
  ChunkKey keys_[kBlock];
  const ChunkCache::Short* places_[kBlock];

  Missing missing_[kMissing];
  Gap gaps_[kGaps];
  std::size_t n_missing_ = 0, n_gaps_ = 0, bytes_in_gaps_ = 0;
  std::uint8_t by_hash_[256];  // 1 + the place in missing_ of the last one with this byte of hash
  std::uint32_t ids_[kMissing * ChunkCache::kLongChunk];
};

}  // namespace groundup::bpe
