#include "bpe/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "bpe/unicode.h"

namespace groundup::bpe {
namespace {

constexpr std::size_t kPartBytes = std::size_t{1} << 25;
constexpr std::size_t kFirstBytes = std::size_t{1} << 16;
constexpr std::size_t kTailBytes = std::size_t{1} << 16;  // where a part's cut is looked for

// For a call that was cut short: EINTR asks whether to go on, anything else throws.
void after_failure(const Interrupted& interrupted) {
  const int error = errno;
  if (error != EINTR) throw std::system_error(error, std::generic_category());
  if (interrupted()) throw Interruption{};
}

}  // namespace

TextFile::TextFile(const std::string& path, Pattern pattern, const Interrupted& interrupted)
    : pattern_(pattern), interrupted_(interrupted) {
  while ((descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) < 0) after_failure(interrupted);
}

TextFile::~TextFile() { ::close(descriptor_); }

void TextFile::read_up_to(std::size_t n) {
  while (size_ < n && !ended_) {
    // Doubled as bytes come: most files are small, and a corpus may be thousands of them.
    if (size_ == buffer_.size())
      buffer_.resize(std::min(n, std::max(kFirstBytes, 2 * buffer_.size())));
    const ssize_t got = ::read(descriptor_, buffer_.data() + size_, buffer_.size() - size_);
    if (got < 0) {
      after_failure(interrupted_);
      continue;
    }
    if (got == 0) ended_ = true;
    size_ += static_cast<std::size_t>(got);
  }
  if (interrupted_()) throw Interruption{};  // a device without end neither fails nor ends
}

Text TextFile::next() {
  size_ -= given_;
  offset_ += given_;
  if (size_) std::memmove(buffer_.data(), buffer_.data() + given_, size_);
  given_ = 0;
  std::size_t valid = 0;
  while (given_ == 0) {
    read_up_to(std::max(kPartBytes, 2 * size_));  // text without a cut stays linear
    if (size_ == 0) break;
    valid += find_invalid_utf8(buffer_.data() + valid, size_ - valid);
    // Up to three bytes may be a character whose rest is not read yet.
    if (valid != size_ && (ended_ || size_ - valid > 3)) throw InvalidUtf8{offset_ + valid};
    if (ended_) {
      given_ = size_;
      break;
    }
    const std::size_t wanted = valid > kTailBytes ? valid - kTailBytes : 1;
    const std::size_t cut = find_cut(pattern_, buffer_.data(), wanted, valid);
    if (cut < valid) given_ = cut;
  }
  return {buffer_.data(), given_};
}

}  // namespace groundup::bpe
