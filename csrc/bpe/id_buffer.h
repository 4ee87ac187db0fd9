// Ids on their way out. Room is made ahead and never initialised; the memory is malloc's, so that
// an owner who knows nothing of this class can free it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace groundup::bpe {

class IdBuffer {
 public:
  IdBuffer() = default;
  ~IdBuffer();
  IdBuffer(IdBuffer&& other) noexcept;
  IdBuffer& operator=(IdBuffer&&) = delete;

  // Where to write up to n ids; wrote(end) then says where they ended. Where that takes memory, it
  // is taken for `expected` ids, if more. Throws std::bad_alloc.
  std::uint32_t* room(std::size_t n, std::size_t expected = 0);
  void wrote(const std::uint32_t* end) noexcept { size_ = static_cast<std::size_t>(end - ids_); }
  void clear() noexcept { size_ = 0; }

  const std::uint32_t* data() const noexcept { return ids_; }
  std::size_t size() const noexcept { return size_; }

  // Gives up the memory, cut to size; free() it. The second form's ids are below 65536.
  std::uint32_t* release();
  std::uint16_t* release_narrow();

 private:
  std::uint32_t* ids_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace groundup::bpe
