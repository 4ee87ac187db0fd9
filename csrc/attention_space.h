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
// when parts must be added, else a buffer a thread.
struct BackwardUnits {
  int64_t n_key_heads, n_parts, n_blocks;  // n_blocks: query blocks of all heads on a key head
  int64_t n_buffers, buffer;               // buffer: floats, (S, D padded) and (S, Dv padded)

  explicit BackwardUnits(const Attention& job)
      : n_key_heads(job.n_batch * job.n_key_heads),
        n_blocks(live_rows(job).n_blocks() * (job.n_heads / larger(1, job.n_key_heads))) {
    n_parts = (kBackwardUnits + n_key_heads - 1) / larger(1, n_key_heads);
    n_parts = larger(1, smaller(n_parts, n_blocks));
    n_buffers = n_parts == 1 ? job.n_threads : n_key_heads * n_parts;
    buffer = job.n_keys * (padded(job.width) + padded(job.value_width));
  }
};

}  // namespace
}  // namespace groundup
