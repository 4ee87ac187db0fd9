#include "bpe/positions.h"

#include <algorithm>
#include <iterator>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace groundup::bpe {
namespace {

#if defined(__linux__)

constexpr std::size_t kRegion = std::size_t{8} << 20;

std::size_t page_size() {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

unsigned char* map(std::size_t n_bytes) {
  void* const begin =
      mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) throw std::bad_alloc();
  madvise(begin, n_bytes, MADV_NOHUGEPAGE);  // one would stay for the last of its small ones
  return static_cast<unsigned char*>(begin);
}

void unmap(unsigned char* begin, std::size_t n_bytes) noexcept { munmap(begin, n_bytes); }

void give_pages_back(void* begin, std::size_t n_bytes) noexcept {
  madvise(begin, n_bytes, MADV_DONTNEED);
}

#else  // a region is one block

constexpr std::size_t kRegion = 1;

std::size_t page_size() { return 1 << 12; }

unsigned char* map(std::size_t n_bytes) {
  return static_cast<unsigned char*>(::operator new(n_bytes));
}

void unmap(unsigned char* begin, std::size_t) noexcept { ::operator delete(begin); }

void give_pages_back(void*, std::size_t) noexcept {}

#endif

}  // namespace

// A block of its own for n positions.
std::uint32_t Positions::take(std::size_t n) {
  const std::size_t page = page_size();
  const std::size_t n_bytes = (n * sizeof(std::uint32_t) + page - 1) / page * page;
  blocks_.reserve(blocks_.size() + 1);
  if (n_bytes > n_left_) begin_region(n_bytes);
  Region& region = regions_.back();
  auto* const begin = reinterpret_cast<std::uint32_t*>(region.begin + region.n_bytes - n_left_);
  n_left_ -= n_bytes;
  ++region.n_blocks;
  blocks_.push_back({begin, n_bytes, static_cast<std::uint32_t>(regions_.size() - 1), 1});
  return static_cast<std::uint32_t>(blocks_.size() - 1);
}

void Positions::begin_block(Open* open) {
  if (open->next) release(open->block);
  *open = {};
  open->block = take(kBlock);
  open->next = blocks_[open->block].begin;
  open->n_left = blocks_[open->block].n_bytes / sizeof(std::uint32_t);
}

void Positions::begin_region(std::size_t n_bytes) {
  const std::size_t size = std::max(kRegion, n_bytes);
  regions_.push_back({nullptr, 0, 1});
  n_left_ = 0;
  regions_.back().begin = map(size);
  regions_.back().n_bytes = n_left_ = size;
  if (regions_.size() > 1) leave(regions_[regions_.size() - 2]);
}

void Positions::give_back(Block& block) noexcept {
  give_pages_back(block.begin, block.n_bytes);
  leave(regions_[block.region]);
}

void Positions::leave(Region& region) noexcept {
  if (--region.n_blocks > 0) return;
  unmap(region.begin, region.n_bytes);
  region.begin = nullptr;
}

void Positions::clear() noexcept {
  for (Region& region : regions_)
    if (region.begin) unmap(region.begin, region.n_bytes);
  regions_.clear();
  blocks_.clear();
  n_left_ = 0;
  std::fill(std::begin(open_), std::end(open_), Open{});
}

}  // namespace groundup::bpe
