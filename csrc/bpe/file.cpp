#include "bpe/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace groundup::bpe {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() { ::close(fd); }
};

[[noreturn]] void fail(int error, const std::string& path) {
  throw std::system_error(error, std::generic_category(), path);
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail(errno, path);
  struct stat about;
  if (::fstat(file.fd, &about) != 0) fail(errno, path);
  if (S_ISDIR(about.st_mode)) fail(EISDIR, path);
  if (S_ISREG(about.st_mode) && about.st_size > 0) {
    const auto n = static_cast<std::size_t>(about.st_size);
    void* at = ::mmap(nullptr, n, PROT_READ, MAP_PRIVATE, file.fd, 0);
    if (at != MAP_FAILED) {
      ::madvise(at, n, MADV_SEQUENTIAL);
      begin_ = static_cast<const std::uint8_t*>(at);
      size_ = n;
      mapped_ = true;
      return;
    }
  }
  char block[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.fd, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno, path);
    if (n == 0) break;
    read_.append(block, static_cast<std::size_t>(n));
  }
  begin_ = reinterpret_cast<const std::uint8_t*>(read_.data());
  size_ = read_.size();
}

MappedFile::~MappedFile() {
  if (mapped_) ::munmap(const_cast<std::uint8_t*>(begin_), size_);
}

}  // namespace groundup::bpe
