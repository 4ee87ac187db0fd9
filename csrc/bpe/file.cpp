#include "bpe/file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bpe/unicode.h"

namespace groundup::bpe {
namespace {

// A part and the table that it is counted into share a core's second cache.
constexpr std::size_t kPartBytes = std::size_t{1} << 19;
constexpr std::size_t kFirstBytes = std::size_t{1} << 14;  // most files are small
constexpr std::size_t kTailBytes = std::size_t{1} << 12;   // where a part's end is looked for
constexpr int kPatienceMs = 50;

std::int64_t modified_ns(const struct stat& status) {
#ifdef __APPLE__
  const struct timespec& time = status.st_mtimespec;
#else
  const struct timespec& time = status.st_mtim;
#endif
  return std::int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

}  // namespace

TextFiles::~TextFiles() { close(); }

void TextFiles::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

void TextFiles::fail(FileFailure::Kind kind, std::uint64_t offset, int error) {
  failed_ = true;
  throw FileFailure{file_, offset, kind, error};
}

bool TextFiles::open_next() {
  if (file_ == paths_.size()) return false;
  // Not waiting for a pipe's writer here, so that it can be stopped; read_up_to waits.
  while ((descriptor_ = ::open(paths_[file_].c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0)
    if (errno != EINTR) fail(FileFailure::Kind::unreadable, 0, errno);
  struct stat status;
  if (::fstat(descriptor_, &status) != 0) fail(FileFailure::Kind::unreadable, 0, errno);
  is_regular_ = S_ISREG(status.st_mode);
  modified_ns_ = modified_ns(status);
  ended_ = false;
  offset_ = 0;
  return true;
}

// One that was written to meanwhile was read in no state that it ever had.
void TextFiles::check_unchanged() {
  struct stat status;
  if (!is_regular_ || ::fstat(descriptor_, &status) != 0) return;
  if (modified_ns(status) != modified_ns_ ||
      (status.st_size != 0 && static_cast<std::uint64_t>(status.st_size) != offset_))
    fail(FileFailure::Kind::changed, offset_, 0);
}

// False when stopped.
bool TextFiles::read_up_to(FilePart* part, std::size_t n, const std::function<bool()>& stopped) {
  auto& buffer = part->buffer;
  while (part->size < n && !ended_) {
    if (stopped()) return false;
    if (part->size == buffer.size())
      buffer.resize(std::min(n, std::max(kFirstBytes, 2 * buffer.size())));
    if (!is_regular_) {
      struct pollfd ready = {descriptor_, POLLIN, 0};
      // A pipe that nobody has opened for writing yet would read as ended, and polls as silent.
      if (::poll(&ready, 1, kPatienceMs) == 0) continue;
    }
    const ssize_t got = ::read(descriptor_, buffer.data() + part->size, buffer.size() - part->size);
    if (got < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      fail(FileFailure::Kind::unreadable, offset_, errno);
    }
    if (got == 0) ended_ = true;
    part->size += static_cast<std::size_t>(got);
    offset_ += static_cast<std::uint64_t>(got);
  }
  return true;
}

// Where the part may be cut, or 0. Only its tail is checked here: the rest is its thread's work.
std::size_t TextFiles::find_end(const FilePart& part) {
  const std::uint8_t* const text = part.buffer.data();
  for (std::size_t tail = kTailBytes;; tail *= 16) {
    std::size_t from = part.size > tail ? part.size - tail : 0;
    for (int i = 0; i < 3 && from && (text[from] & 0xC0) == 0x80; ++i) --from;  // a character's
    const std::size_t valid = from + find_invalid_utf8(text + from, part.size - from);
    // Up to three bytes may be a character whose rest is not read yet.
    if (part.size - valid > 3)
      fail(FileFailure::Kind::no_utf8, offset_ - part.size + find_invalid_utf8(text, part.size), 0);
    const std::size_t cut = valid > from ? find_cut(pattern_, text + from, 1, valid - from) : 0;
    if (cut && from + cut < valid) return from + cut;
    if (from == 0) return 0;
  }
}

bool TextFiles::next(FilePart* part, const std::function<bool()>& stopped) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (failed_) return false;
  for (;;) {
    if (descriptor_ < 0 && !open_next()) return false;
    part->size = rest_.size();
    if (part->buffer.size() < part->size) part->buffer.resize(part->size);
    if (part->size) std::memcpy(part->buffer.data(), rest_.data(), part->size);
    rest_.clear();
    std::size_t end = 0;
    while (end == 0 && !ended_) {
      // Doubled, so that text without a cut stays linear.
      if (!read_up_to(part, std::max(kPartBytes, 2 * part->size), stopped)) return false;
      end = ended_ ? part->size : find_end(*part);
    }
    part->file = file_;
    part->offset = offset_ - part->size;
    part->position = position_;
    rest_.assign(part->buffer.begin() + static_cast<std::ptrdiff_t>(end),
                 part->buffer.begin() + static_cast<std::ptrdiff_t>(part->size));
    part->size = end;
    position_ += end;
    if (ended_) {
      check_unchanged();
      close();
      ++file_;
    }
    if (end) return true;
  }
}

}  // namespace groundup::bpe
