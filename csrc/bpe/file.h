// A file's bytes, mapped rather than read: they count as page cache, not as this process's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace groundup::bpe {

class MappedFile {
 public:
  // Throws std::system_error with errno. What cannot be mapped (a pipe) is read whole.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::uint8_t* begin() const noexcept { return begin_; }
  std::size_t size() const noexcept { return size_; }

 private:
  const std::uint8_t* begin_ = nullptr;
  std::size_t size_ = 0;
  bool mapped_ = false;
  std::string read_;
};

}  // namespace groundup::bpe
