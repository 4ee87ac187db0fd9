// Blocks of queries against pieces of keys: which pieces a block sees, how rows come in and out.
//
// The queries of a block lie along the vectors: scores are (keys, queries), so that largest and
// sum of a query stay in its lane and no sum ever crosses lanes.
#pragma once

#include "attention_space.h"
#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr int64_t kBlockVectors = kQueries / kLanes;
constexpr int64_t kEdgeKeys = 16;  // a piece of keys that some queries see and others do not

GROUNDUP_INLINE vint lane_numbers() {
  vint lanes;
  for (int i = 0; i < kLanes; ++i) lanes[i] = i;
  return lanes;
}

// Queries [first, first + n) of one head.
struct QueryBlock {
  int64_t first, n, position;  // the first one stands at key `position`

  QueryBlock(const Attention& job, const LiveRows& rows, int64_t index)
      : first(rows.first + index * kQueries),
        n(smaller(kQueries, rows.last - first)),
        position(first + job.offset) {}
  int64_t n_vectors() const { return (n + kLanes - 1) / kLanes; }
};

// Keys [first, first + n) against the vectors [begin, end) of a block: those that see any of them.
struct Piece {
  int64_t first, n;
  int64_t begin, end;
  // Lane i of the block sees key first + r where low + r <= i <= high + r.
  int64_t low, high;

  bool sees_all(int64_t v) const {
    return v * kLanes >= low + n - 1 && v * kLanes + kLanes - 1 <= high;
  }
  inline __attribute__((always_inline)) vint sees(vint lanes, int64_t r) const {
    return (lanes >= (int32_t)(low + r)) & (lanes <= (int32_t)(high + r));
  }
};

// Keys [begin, end): those that any query of the block sees.
struct Keys {
  int64_t begin, end;
};

GROUNDUP_INLINE Keys keys_of(const Attention& job, const QueryBlock& block) {
  const int64_t last = block.position + block.n - 1, left = job.left < 0 ? last : job.left;
  return {larger(0, block.position - left), smaller(job.n_keys, last + 1)};
}

template <class Body>
void for_each_piece(const Attention& job, const QueryBlock& block, Body body) {
  constexpr int64_t unbounded = int64_t{1} << 30;  // fits the lanes of `sees`
  const int64_t position = block.position, last = position + block.n - 1;
  const int64_t left = job.left < 0 ? last : job.left;
  const auto [begin, end] = keys_of(job, block);
  // All queries of the block see the keys in [all_begin, all_end).
  int64_t all_begin = smaller(larger(begin, last - left), end);
  int64_t all_end = smaller(position, end);
  if (all_end <= all_begin) all_begin = all_end = end;

  for (int64_t j = begin, n; j < end; j += n) {
    const bool inside = j >= all_begin && j < all_end;
    const int64_t stop = j < all_begin ? all_begin : j < all_end ? all_end : end;
    n = smaller(inside ? kKeys : kEdgeKeys, stop - j);
    Piece piece{j,
                n,
                0,
                block.n_vectors(),
                larger(-unbounded, j - position),
                smaller(unbounded, j - position + left)};
    if (piece.low > 0) piece.begin = piece.low / kLanes;
    if (job.left >= 0) piece.end = smaller(piece.end, (piece.high + n - 1) / kLanes + 1);
    body(piece);
  }
}

template <class T>
const T* row_of(const void* base, const Strides& strides, int64_t h, int64_t row) {
  return (const T*)base + h * strides.head + row * strides.row;
}

// The head that a thread comes to next, in all likelihood: tasks are handed out in order. Only
// where heads are one block each; a longer one has work enough to hide its own rows behind.
struct NextHead {
  Attention job{};  // its entry
  int64_t head = 0;
  bool is_known;

  NextHead(const Attention& all, int64_t task, int64_t n_tasks)
      : is_known(all.blocks_before[all.n_batch] <= all.n_batch && task + all.n_threads < n_tasks) {
    if (!is_known) return;
    const int64_t block = (task + all.n_threads) / all.n_heads;
    job = entry(all, entry_of_block(all, block));
    head = (task + all.n_threads) % all.n_heads;
  }
};

// Asks for the rows of `piece`, or as many as there are, long before they are used. Heads that come
// out of one product lie a row in a page, where the hardware does not fetch ahead by itself.
// Inlined into what computes: to the compiler, a function that does nothing else does nothing.
enum class For { reading, writing };
template <For kFor, class T>
GROUNDUP_INLINE void fetch(const void* base, const Strides& strides, int64_t h, const Piece& piece,
                           int64_t n_rows, int64_t width) {
  const int64_t last = smaller(piece.first + piece.n, n_rows);
  for (int64_t r = piece.first; r < last; ++r) {
    const char* row = (const char*)row_of<T>(base, strides, h, r);
    for (int64_t at = 0; at < width * (int64_t)sizeof(T); at += 64)
      __builtin_prefetch(row + at, kFor == For::writing, 2);
  }
}

// Rows in float: where they are, or converted into `space`.
struct Rows {
  const float* first;
  int64_t stride;
};

static inline Rows float_rows(const float* rows, int64_t stride, int64_t, int64_t, float*) {
  return {rows, stride};
}
static inline Rows float_rows(const bfloat16* rows, int64_t stride, int64_t n, int64_t width,
                              float* space) {
  for (int64_t r = 0; r < n; ++r) {
    const bfloat16* from = rows + r * stride;
    float* to = space + r * width;
    int64_t d = 0;
    for (; d + kLanes <= width; d += kLanes) store(to + d, load(from + d, Full{}), Full{});
    if (d < width) store(to + d, load(from + d, First{(int)(width - d)}), First{(int)(width - d)});
  }
  return {space, width};
}

// `n` rows into (kQueries, padded width) with zeros after each row's end.
template <class T>
void copy_rows(const T* rows, int64_t stride, int64_t n, int64_t width, float* to) {
  const int64_t to_stride = padded(width);
  for (int64_t r = 0; r < n; ++r, rows += stride, to += to_stride) {
    int64_t d = 0;
    for (; d + kLanes <= width; d += kLanes) store(to + d, load(rows + d, Full{}), Full{});
    if (d < width) store(to + d, load(rows + d, First{(int)(width - d)}), Full{});
    for (d += kLanes; d < to_stride; d += kLanes) store(to + d, vfloat{}, Full{});
  }
}

// Zeros for the rows that see no key.
template <class T>
void zero_rows(T* rows, int64_t stride, int64_t n, int64_t width) {
  if (width == 0) return;  // rows of nothing may lie nowhere, and memset takes no null
  for (int64_t i = 0; i < n; ++i) __builtin_memset(rows + i * stride, 0, width * sizeof(T));
}

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
