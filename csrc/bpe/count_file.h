// Counted chunks on disk, one after the other in the order of compare_chunks: what counting lays
// aside when memory is short, and the body of a count table.
//
// A record is three numbers and the chunk: its size, its bytes, its count, where it first occurred.
// Numbers are LEB128: seven bits a byte, the lowest first, the top bit on all but the last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bpe/chunk_table.h"

namespace groundup::bpe {

// CRC-32 as zlib computes it; `crc` is that of the bytes before, 0 at the beginning.
std::uint32_t crc32(std::uint32_t crc, const std::uint8_t* bytes, std::size_t n) noexcept;

struct FileTotals {
  std::uint64_t n_distinct = 0;
  std::uint64_t n_bytes = 0;
  std::uint32_t crc = 0;
};

// Appends to a file that the caller opened. Throws std::system_error, also for a full disk.
class CountWriter {
 public:
  explicit CountWriter(int descriptor) : descriptor_(descriptor) {}
  void put(const CountedChunk& chunk);
  FileTotals finish();  // all is written, though not yet on the disk

 private:
  void put_bytes(const std::uint8_t* bytes, std::size_t n);
  void flush();

  const int descriptor_;
  std::vector<std::uint8_t> buffer_;
  FileTotals totals_;
};

struct Malformed {
  const char* what;  // "a chunk ends after the file"
};

// Reads at offsets of its own, so that a forked child and its parent do not disturb each other.
// Whatever the file holds, it reads no more than `totals.n_bytes` and throws Malformed where that
// is no list of records in order or not what `totals` says.
class CountReader {
 public:
  CountReader(int descriptor, std::uint64_t offset, const FileTotals& totals)
      : descriptor_(descriptor), offset_(offset), left_(totals.n_bytes), totals_(totals) {}

  bool next();  // false at the end, where everything has been checked
  const CountedChunk& chunk() const noexcept { return chunk_; }  // until the next next()

 private:
  std::uint64_t number();
  void fill(std::size_t n);  // at least n bytes stand in the buffer from at_ on

  const int descriptor_;
  std::uint64_t offset_;
  std::uint64_t left_;  // bytes of the records not yet read into the buffer
  const FileTotals totals_;
  std::vector<std::uint8_t> buffer_;
  std::size_t at_ = 0, size_ = 0;
  std::uint32_t crc_ = 0;
  std::uint64_t n_read_ = 0;
  std::vector<std::uint8_t> before_;  // the chunk before this one
  CountedChunk chunk_{};
};

}  // namespace groundup::bpe
