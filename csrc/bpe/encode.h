// Stage 4: text to ids.
//
// A chunk is looked up in a cache of short chunks, then (whole_chunks) among the tokens, and only
// then merged: the pair of lowest rank first, the leftmost of equals. Short chunks are scanned for
// it; long ones keep a heap, so that n bytes cost O(n log n).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bpe/chunk_key.h"
#include "bpe/pair_table.h"
#include "bpe/split.h"

namespace groundup::bpe {

// Ids on their way out. Room is made ahead and never initialised; the memory is malloc's, so that
// an owner who knows nothing of this class can free it.
class IdBuffer {
 public:
  IdBuffer() = default;
  ~IdBuffer();
  IdBuffer(IdBuffer&& other) noexcept;
  IdBuffer& operator=(IdBuffer&&) = delete;

  // Where to write up to n ids; wrote(end) then says where they ended. Throws std::bad_alloc.
  std::uint32_t* room(std::size_t n);
  void wrote(const std::uint32_t* end) noexcept { size_ = static_cast<std::size_t>(end - ids_); }

  const std::uint32_t* data() const noexcept { return ids_; }
  std::size_t size() const noexcept { return size_; }
  std::uint32_t* release();  // gives up the memory, cut to size; free() it

 private:
  std::uint32_t* ids_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// What one thread needs while it encodes: the cache and working space. Never shared.
struct Workspace;

// Finds ids by the bytes of tokens. Of equal tokens the first stands; empty ones are never found.
class TokenTable {
 public:
  static constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;
  explicit TokenTable(const std::vector<std::string>& tokens);  // which must outlive it
  std::uint32_t find(const std::uint8_t* bytes, std::size_t n) const noexcept;

 private:
  const std::vector<std::string>& tokens_;
  std::vector<std::uint32_t> slots_;
};

class Encoder {
 public:
  // tokens[id] are the bytes of an id; an empty one is an id that no text gives. merges are
  // n_merges rows (left, right, id), lowest rank first. With whole_chunks, as in tiktoken, a chunk
  // that is a token is that token, and neighbouring rows with one id share one rank. Throws
  // std::invalid_argument for a byte without token, an id out of range, a pair that is listed
  // twice, or a row whose bytes are not those of its id.
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

  Pattern pattern() const noexcept { return pattern_; }
  std::size_t n_tokens() const noexcept { return tokens_.size(); }
  const std::string& token(std::uint32_t id) const { return tokens_[id]; }

 private:
  class Lease;  // holds a workspace for one call

  // Each writes a chunk's ids, n at most, to `out` and returns their end.
  std::uint32_t* encode_batch(const std::uint8_t* text, std::size_t at, std::size_t n,
                              const std::size_t* ends, std::size_t found, Workspace& workspace,
                              std::uint32_t* out) const;
  std::uint32_t* merge_chunk(const std::uint8_t* chunk, std::size_t n, Workspace& workspace,
                             std::uint32_t* out) const;
  std::uint32_t* merge_short(const std::uint8_t* chunk, std::size_t n, std::uint32_t* out) const;
  std::uint32_t* merge_long(const std::uint8_t* chunk, std::size_t n, Workspace& workspace,
                            std::uint32_t* out) const;

  struct Merge {
    std::uint32_t rank;
    std::uint32_t id;
  };

  std::vector<std::string> tokens_;
  TokenTable table_;
  std::uint32_t byte_ids_[256];
  PairTable<Merge> merges_;
  std::vector<Merge> byte_merges_;  // the same for two bytes, by first * 256 + second
  Pattern pattern_;
  bool whole_chunks_;

  // Workspaces at rest. Taken and returned by atomic exchange: no lock that a fork could leave
  // locked in the child.
  static constexpr std::size_t kShelves = 64;
  mutable std::atomic<Workspace*> shelves_[kShelves] = {};
};

}  // namespace groundup::bpe
