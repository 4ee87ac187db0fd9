// A file of UTF-8 text, read in parts that split as the whole does.
//
// Read, not mapped: a mapped file that another process cuts short ends this one with SIGBUS, and
// one that is rewritten after it was checked hands the scanners bytes that are no UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bpe/count.h"
#include "bpe/split.h"
#include "bpe/threads.h"

namespace groundup::bpe {

struct InvalidUtf8 {
  std::size_t offset;  // in the file
};

struct Interruption {};  // `interrupted` returned true

class TextFile {
 public:
  // Throws std::system_error with errno; Interruption while it waits for a pipe's writer.
  TextFile(const std::string& path, Pattern pattern, const Interrupted& interrupted);
  ~TextFile();
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;

  // The next part, valid until the next call; of size 0 at the end. A part ends where no chunk
  // changes; text without such a place comes as one part. Throws as the constructor, InvalidUtf8.
  Text next();

 private:
  void read_up_to(std::size_t n);

  const Pattern pattern_;
  const Interrupted& interrupted_;
  int descriptor_;
  bool ended_ = false;
  std::vector<std::uint8_t> buffer_;
  std::size_t size_ = 0;    // of what stands in the buffer
  std::size_t given_ = 0;   // of that, the part last given
  std::size_t offset_ = 0;  // in the file, of the buffer's begin
};

}  // namespace groundup::bpe
