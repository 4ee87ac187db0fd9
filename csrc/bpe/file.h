// Files of UTF-8 text, read one after the other in parts that split as the whole does.
//
// Read, not mapped: a mapped file that another process cuts short ends this one with SIGBUS, and
// one that is rewritten after it was checked hands the scanners bytes that are no UTF-8. Every
// byte is read once, into memory that stays in the cache until it is counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "bpe/pieces.h"
#include "bpe/split.h"

namespace groundup::bpe {

// What ends the reading: of several the first in the order of files and bytes.
struct FileFailure {
  std::size_t file;
  std::uint64_t offset;
  enum class Kind { unreadable, no_utf8, changed } kind;
  int error;  // errno of one that is unreadable
  bool operator<(const FileFailure& other) const noexcept {
    return file != other.file ? file < other.file : offset < other.offset;
  }
};

// One thread's part of a file: whole chunks, valid UTF-8 once it has been checked.
struct FilePart {
  std::vector<std::uint8_t> buffer;
  std::size_t size = 0;
  std::size_t file = 0;
  std::uint64_t offset = 0;    // in the file
  std::uint64_t position = 0;  // in all files laid end to end
};

class TextFiles {
 public:
  // The paths must outlive this.
  TextFiles(const std::vector<std::string>& paths, Pattern pattern)
      : paths_(paths), pattern_(pattern) {}
  ~TextFiles();
  TextFiles(const TextFiles&) = delete;
  TextFiles& operator=(const TextFiles&) = delete;

  // Hands a thread the next part, its tail alone checked for UTF-8; false at the end, when
  // `stopped` says so (it is asked while a pipe gives nothing), and after a failure, which it
  // throws (FileFailure). A part ends where no chunk changes; text without such a place comes as
  // one part. Any number of threads may call it.
  bool next(FilePart* part, const std::function<bool()>& stopped);

  std::uint64_t n_bytes() const noexcept { return position_; }

 private:
  bool open_next();
  void close();
  bool read_up_to(FilePart* part, std::size_t n, const std::function<bool()>& stopped);
  [[noreturn]] void fail(FileFailure::Kind kind, std::uint64_t offset, int error);
  std::size_t find_end(const FilePart& part);
  void check_unchanged();

  const std::vector<std::string>& paths_;
  const Pattern pattern_;

  std::mutex mutex_;  // guards all below
  std::size_t file_ = 0;
  int descriptor_ = -1;
  bool is_regular_ = false;
  bool ended_ = false;
  bool failed_ = false;
  std::uint64_t offset_ = 0;    // of what is read, in the file
  std::uint64_t position_ = 0;  // of the next part
  std::int64_t modified_ns_ = 0;
  std::vector<std::uint8_t> rest_;  // read, and after the last part's end
};

}  // namespace groundup::bpe
