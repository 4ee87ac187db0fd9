#include "bpe/count_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "bpe/numbers.h"

namespace groundup::bpe {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 16;

// Eight bytes at a time: table[k][byte] is the remainder of byte followed by k zero bytes.
struct CrcTables {
  std::uint32_t of[8][256];
  CrcTables() noexcept {
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t remainder = byte;
      for (int bit = 0; bit < 8; ++bit)
        remainder = remainder >> 1 ^ (remainder & 1 ? 0xEDB88320u : 0);
      of[0][byte] = remainder;
    }
    for (int k = 1; k < 8; ++k)
      for (std::uint32_t byte = 0; byte < 256; ++byte)
        of[k][byte] = of[k - 1][byte] >> 8 ^ of[0][of[k - 1][byte] & 255];
  }
};

}  // namespace

std::uint32_t crc32(std::uint32_t crc, const std::uint8_t* bytes, std::size_t n) noexcept {
  static const CrcTables tables;
  const auto& of = tables.of;
  crc = ~crc;
  for (; n >= 8; bytes += 8, n -= 8) {
    std::uint32_t low, high;
    std::memcpy(&low, bytes, 4);
    std::memcpy(&high, bytes + 4, 4);
    low ^= crc;
    crc = of[7][low & 255] ^ of[6][low >> 8 & 255] ^ of[5][low >> 16 & 255] ^ of[4][low >> 24] ^
          of[3][high & 255] ^ of[2][high >> 8 & 255] ^ of[1][high >> 16 & 255] ^ of[0][high >> 24];
  }
  for (; n; --n) crc = crc >> 8 ^ of[0][(crc ^ *bytes++) & 255];
  return ~crc;
}

void CountWriter::put_bytes(const std::uint8_t* bytes, std::size_t n) {
  buffer_.insert(buffer_.end(), bytes, bytes + n);
}

void CountWriter::put(const CountedChunk& chunk) {
  if (buffer_.empty()) buffer_.reserve(kBufferBytes + 256);
  put_number(chunk.size, &buffer_);
  put_bytes(chunk.bytes, chunk.size);
  put_number(chunk.count, &buffer_);
  put_number(chunk.first, &buffer_);
  ++totals_.n_distinct;
  if (buffer_.size() >= kBufferBytes) flush();
}

void CountWriter::flush() {
  totals_.crc = crc32(totals_.crc, buffer_.data(), buffer_.size());
  totals_.n_bytes += buffer_.size();
  for (std::size_t at = 0; at < buffer_.size();) {
    const ssize_t wrote = ::write(descriptor_, buffer_.data() + at, buffer_.size() - at);
    if (wrote >= 0)
      at += static_cast<std::size_t>(wrote);
    else if (errno != EINTR)
      throw std::system_error(errno, std::generic_category());
  }
  buffer_.clear();
}

FileTotals CountWriter::finish() {
  flush();
  return totals_;
}

void CountReader::fill(std::size_t n) {
  if (size_ - at_ >= n) return;
  if (n - (size_ - at_) > left_) throw Malformed{"a record ends after the file's records"};
  if (at_ > 0) std::memmove(buffer_.data(), buffer_.data() + at_, size_ - at_);
  size_ -= at_;
  at_ = 0;
  while (size_ < n) {
    // Grown as bytes come: a size that a stranger wrote is not believed in advance.
    if (size_ == buffer_.size()) buffer_.resize(std::max(kBufferBytes, 2 * buffer_.size()));
    const std::size_t wanted = std::min<std::uint64_t>(buffer_.size() - size_, left_);
    const ssize_t got =
        ::pread(descriptor_, buffer_.data() + size_, wanted, static_cast<off_t>(offset_));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw std::system_error(errno, std::generic_category());
    if (got == 0) throw Malformed{"the file ends before its records do"};
    crc_ = crc32(crc_, buffer_.data() + size_, static_cast<std::size_t>(got));
    size_ += static_cast<std::size_t>(got);
    offset_ += static_cast<std::uint64_t>(got);
    left_ -= static_cast<std::uint64_t>(got);
  }
}

std::uint64_t CountReader::number() {
  std::uint64_t number = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    fill(1);
    const std::uint64_t byte = buffer_[at_++];
    if (shift == 63 && byte > 1) break;
    number |= (byte & 127) << shift;
    if (byte < 128) return number;
  }
  throw Malformed{"a number passes 2^64 - 1"};
}

bool CountReader::next() {
  if (n_read_) before_.assign(chunk_.bytes, chunk_.bytes + chunk_.size);
  if (left_ == 0 && at_ == size_) {
    if (n_read_ != totals_.n_distinct) throw Malformed{"it holds another number of chunks"};
    if (crc_ != totals_.crc) throw Malformed{"the checksum of its records is another"};
    return false;
  }
  const std::uint64_t size = number();
  if (size == 0) throw Malformed{"a chunk is empty"};
  if (size > left_ + (size_ - at_)) throw Malformed{"a chunk ends after the file's records"};
  // The chunk stays where it is while the two numbers after it are read.
  const std::uint64_t rest = left_ + (size_ - at_) - size;
  fill(static_cast<std::size_t>(size + std::min<std::uint64_t>(rest, 20)));
  const std::size_t begin = at_;
  at_ += static_cast<std::size_t>(size);
  chunk_.count = number();
  chunk_.first = number();
  chunk_.bytes = buffer_.data() + begin;
  chunk_.size = static_cast<std::size_t>(size);
  if (chunk_.count == 0) throw Malformed{"a chunk is counted 0 times"};
  if (n_read_++ && compare_chunks(before_.data(), before_.size(), chunk_.bytes, chunk_.size) >= 0)
    throw Malformed{"its chunks are not in order"};
  return true;
}

}  // namespace groundup::bpe
