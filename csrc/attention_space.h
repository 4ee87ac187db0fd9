// How attention is cut into blocks and what scratch a block needs: the same for every instruction
// set, since the scratch is allocated by those who do not know which one runs.
#pragma once

#include "attention.h"

namespace groundup {
namespace {  // each object keeps its own copy: one compiled for AVX-512 is never the only one

constexpr int64_t kQueries = 64;  // of a block; they lie along the vectors
constexpr int64_t kKeys = 64;     // of a block, at most

// Backward works on one key head at a time; where there are fewer of them than this, each is
// divided into parts. It may depend on the shape, never on the number of threads: the order in
// which gradients are summed follows it.
constexpr int64_t kBackwardUnits = 16;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
// To whole cache lines, so that what lies side by side begins on one.
static inline int64_t padded(int64_t floats) { return (floats + 15) / 16 * 16; }

// Entry b by itself: a batch of one, its own lengths, pointers at its first rows.
static inline Attention entry(const Attention& job, int64_t b) {
  Attention one = job;
  const int64_t query_row = job.query_begin ? job.query_begin[b] : 0;
  const int64_t key_row = job.key_begin ? job.key_begin[b] : 0;
  const auto from = [b](auto*& pointer, const Strides& strides, int64_t row, int64_t bytes) {
    if (pointer)  // const_cast in C's spelling: pointers to const and to non-const alike
      pointer =
          (decltype(+pointer))((char*)pointer + (b * strides.batch + row * strides.row) * bytes);
  };
  const int64_t bytes = job.is_bfloat16 ? 2 : 4;
  from(one.query, job.query_strides, query_row, bytes);
  from(one.key, job.key_strides, key_row, bytes);
  from(one.value, job.value_strides, key_row, bytes);
  from(one.out, job.out_strides, query_row, bytes);
  from(one.statistics, job.statistics_strides, query_row, 4);
  from(one.dout, job.dout_strides, query_row, bytes);
  from(one.dquery, job.dquery_strides, query_row, bytes);
  from(one.dkey, job.dkey_strides, key_row, bytes);
  from(one.dvalue, job.dvalue_strides, key_row, bytes);
  one.n_batch = 1;
  if (job.query_end) one.n_queries = job.query_end[b] - query_row;
  if (job.key_end) one.n_keys = job.key_end[b] - key_row;
  if (job.lower_right) one.offset = one.n_keys - one.n_queries;
  one.first_head = job.first_head + b * job.n_heads;
  return one;
}

// The queries [first, last) see at least one key.
struct LiveRows {
  int64_t first, last;
  int64_t n_blocks() const { return (last - first + kQueries - 1) / kQueries; }
};

static inline LiveRows live_rows(const Attention& job) {
  if (job.n_keys == 0) return {0, 0};
  const int64_t first = smaller(larger(0, -job.offset), job.n_queries);
  if (job.left < 0) return {first, job.n_queries};
  return {first, larger(first, smaller(job.n_queries, job.n_keys + job.left - job.offset))};
}

// The entry that a block belongs to, of those counted in blocks_before.
static inline int64_t entry_of_block(const Attention& job, int64_t block) {
  int64_t low = 0, high = job.n_batch;  // blocks_before[low] <= block < blocks_before[high]
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (job.blocks_before[middle] <= block ? low : high) = middle;
  }
  return low;
}

// Hands out stretches of a scratch buffer, or, without one, counts what they come to.
struct Space {
  float* buffer;
  int64_t taken = 0;
  float* take(int64_t floats) {
    float* stretch = buffer ? buffer + taken : nullptr;
    taken += padded(floats);
    return stretch;
  }
};

struct ForwardSpace {
  float* query;                   // (D, kQueries), times scale
  float* scores;                  // (kKeys, kQueries), later the weights
  float* out;                     // (Dv, kQueries), not yet divided by sum
  float *largest, *sum, *factor;  // (kQueries,)
  float *key, *value;             // (kKeys, D or Dv) in float, where the inputs are not

  ForwardSpace(const Attention& job, Space space)
      : query(space.take(job.width * kQueries)),
        scores(space.take(kKeys * kQueries)),
        out(space.take(job.value_width * kQueries)),
        largest(space.take(kQueries)),
        sum(space.take(kQueries)),
        factor(space.take(kQueries)),
        key(space.take(job.is_bfloat16 ? kKeys * job.width : 0)),
        value(space.take(job.is_bfloat16 ? kKeys * job.value_width : 0)),
        n_floats(space.taken) {}
  int64_t n_floats;
};

// One thread's, while it works through the query blocks of one part of a key head.
struct BackwardSpace {
  float* query_columns;                  // (D, kQueries), times scale
  float *dout_columns, *out_columns;     // (Dv, kQueries)
  float *query_rows, *dout_rows;         // (kQueries, D or Dv padded)
  float *weights, *dscores;              // (kKeys, kQueries)
  float* dquery;                         // (D, kQueries)
  float *largest, *inverse_sum, *delta;  // (kQueries,)
  float *key, *value;                    // (S, D or Dv) in float, where the inputs are not

  BackwardSpace(const Attention& job, Space space)
      : query_columns(space.take(job.width * kQueries)),
        dout_columns(space.take(job.value_width * kQueries)),
        out_columns(space.take(job.value_width * kQueries)),
        query_rows(space.take(kQueries * padded(job.width))),
        dout_rows(space.take(kQueries * padded(job.value_width))),
        weights(space.take(kKeys * kQueries)),
        dscores(space.take(kKeys * kQueries)),
        dquery(space.take(job.width * kQueries)),
        largest(space.take(kQueries)),
        inverse_sum(space.take(kQueries)),
        delta(space.take(kQueries)),
        key(space.take(job.is_bfloat16 ? job.n_keys * job.width : 0)),
        value(space.take(job.is_bfloat16 ? job.n_keys * job.value_width : 0)),
        n_floats(space.taken) {}
  int64_t n_floats;
};

static inline int64_t forward_space_of_thread(const Attention& job) {
  return ForwardSpace(job, Space{nullptr}).n_floats;
}
static inline int64_t backward_space_of_thread(const Attention& job) {
  return BackwardSpace(job, Space{nullptr}).n_floats;
}

// Key heads times parts, and where the gradients of their keys and values gather: a buffer a unit
// when parts must be added, else a buffer a thread. n_keys of the job is the most of any entry.
struct BackwardUnits {
  int64_t n_key_heads, n_parts;
  int64_t n_buffers, buffer;  // buffer: floats, (S, D padded) and (S, Dv padded)

  explicit BackwardUnits(const Attention& job) : n_key_heads(job.n_batch * job.n_key_heads) {
    int64_t most_blocks = 0;
    for (int64_t b = 0; b < job.n_batch; ++b)
      most_blocks = larger(most_blocks, job.blocks_before[b + 1] - job.blocks_before[b]);
    n_parts = (kBackwardUnits + n_key_heads - 1) / larger(1, n_key_heads);
    n_parts = smaller(n_parts, most_blocks * (job.n_heads / larger(1, job.n_key_heads)));
    n_parts = larger(1, n_parts);
    n_buffers = n_parts == 1 ? job.n_threads : n_key_heads * n_parts;
    buffer = job.n_keys * (padded(job.width) + padded(job.value_width));
  }
};

// Few queries: the keys of a key head are read once, in chunks, for all query rows on it; each
// chunk leaves a softmax of its own, and those of a row are brought together at the end. The size
// of a chunk is fixed, so that the bits do not depend on the number of threads.
constexpr int64_t kChunk = 256;

struct DecodeSizes {
  int64_t n_rows;    // query rows on a key head: T of each head in its group
  int64_t n_chunks;  // at most, of an entry
  int64_t result;    // floats that a chunk leaves for a row: (Dv padded), largest, sum

  explicit DecodeSizes(const Attention& job)
      : n_rows(job.n_queries * (job.n_heads / larger(1, job.n_key_heads))),
        n_chunks((job.n_keys + kChunk - 1) / kChunk),
        result(padded(job.value_width) + 16) {}
  int64_t n_results(const Attention& job) const {
    return job.n_batch * job.n_key_heads * n_rows * n_chunks;
  }
};

struct DecodeSpace {
  float* query;   // (rows, D padded), times scale
  float* scores;  // (rows, kChunk), later the weights
  float* group;   // (kKeys, D or Dv padded) in float and whole vectors, where the inputs are not

  DecodeSpace(const Attention& job, const DecodeSizes& sizes, Space space)
      : query(space.take(sizes.n_rows * padded(job.width))),
        scores(space.take(sizes.n_rows * kChunk)),
        group(space.take(kKeys * padded(larger(job.width, job.value_width)))),
        n_floats(space.taken) {}
  int64_t n_floats;
};

static inline int64_t decode_space_of_thread(const Attention& job) {
  return DecodeSpace(job, DecodeSizes(job), Space{nullptr}).n_floats;
}

}  // namespace
}  // namespace groundup
