// Memory for large outputs.
#pragma once

#include <stddef.h>

namespace groundup {

// Asks for huge pages under a large buffer that is about to be written for the first time: a fault
// for every 4 KiB of a fresh allocation costs several times the writing. Only a hint, and nothing
// where the system has none or the buffer is small.
void advise_huge_pages(void* buffer, size_t n_bytes) noexcept;

// A large buffer whose memory is not given back at once when it dies: the next one of about that
// size takes it over. The system clears every page that it hands out, which costs more than writing
// a gradient does, and a training step asks for the same size again and again.
//
// One buffer is kept in all, and it is marked as free for the system to take when memory is short
// (it counts as resident until then). Nothing is kept where the system has no such mark. Contents
// are arbitrary. From any thread.
class Pages {
 public:
  explicit Pages(size_t n_bytes);  // n_bytes > 0; throws std::bad_alloc
  ~Pages();
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  void* begin() const noexcept;
  size_t size() const noexcept { return size_; }

  struct Block;

 private:
  size_t size_;
  Block* block_;
};

}  // namespace groundup
