// Attention backward: for each key head, its query blocks in order; weights are rebuilt from
// their row's largest score and sum.
//
// dkey and dvalue of a key head gather over its query blocks in one buffer, by one thread, so that
// their sums have one order whatever the number of threads. Where there are few key heads, each is
// divided into parts with a buffer of their own, added in order at the end.
#include "attention_blocks.h"
#include "attention_columns.h"
#include "attention_dropout.h"
#include "attention_tiles.h"
#include "parallel.h"

namespace groundup::GROUNDUP_ISA {
namespace {

// (S, D padded) and (S, Dv padded): the gradients of a key head's keys, not yet times scale, and
// of its values.
struct Gathered {
  float *key, *value;

  Gathered(const Attention& job, float* buffer)
      : key(buffer), value(buffer + job.n_keys * padded(job.width)) {}
};

// What a score turned out to be: its weight, the weight that dropout leaves, the gradient of the
// undropped weight, and d score / d uncapped score.
struct Weight {
  vfloat weight, left, dweight, slope;
  vint seen;
};

// body(v, r, weight) for each vector of a piece's scores, which lie in `scores` and the gradients
// of their weights in `dweights`. The arithmetic is forward's, so that weights come out as they
// were.
template <bool kCapped, bool kDropped, class Body>
GROUNDUP_INLINE void for_each_weight(const Attention& job, const Dropout& dropout,
                                     const QueryBlock& block, const Piece& piece,
                                     const BackwardSpace& space, const float* scores,
                                     const float* dweights, Body body) {
  const float cap = (float)job.softcap;
  for (int64_t v = piece.begin; v < piece.end; ++v) {
    const vint lanes = lane_numbers() + (int32_t)(v * kLanes);
    const vfloat largest = load(space.largest + v * kLanes, Full{});
    const vfloat inverse_sum = load(space.inverse_sum + v * kLanes, Full{});
    const bool sees_all = piece.sees_all(v);
    const vuint queries = (vuint)lanes + (uint32_t)block.first;
    Words words;
    int64_t four = -1;
    for (int64_t r = 0; r < piece.n; ++r) {
      const int64_t at = r * kQueries + v * kLanes;
      vfloat score = load(scores + at, Full{});
      Weight one;
      if constexpr (kCapped) {
        const vfloat t = tanh(score * (1 / cap));
        score = rounded(t * cap);
        one.slope = 1.0f - t * t;
      }
      one.weight = one.left = exp_softmax(score - largest) * inverse_sum;
      one.dweight = load(dweights + at, Full{});
      if constexpr (kDropped) {
        const vint kept = dropout.kept(queries, piece.first + r, words, four);
        one.left = select(kept, one.weight * dropout.kept_factor, vfloat{});
        one.dweight = select(kept, one.dweight * dropout.kept_factor, vfloat{});
      }
      if (!sees_all) one.seen = piece.sees(lanes, r);
      body(v, r, one, sees_all);
    }
  }
}

// space.weights: scores to weights, as dropout leaves them. space.dscores: d weights to d scores.
template <bool kCapped, bool kDropped>
void score_gradient(const Attention& job, const Dropout& dropout, const QueryBlock& block,
                    const Piece& piece, const BackwardSpace& space, float* weights,
                    float* dscores) {
  for_each_weight<kCapped, kDropped>(job, dropout, block, piece, space, weights, dscores,
                                     [&](int64_t v, int64_t r, const Weight& one, bool sees_all) {
                                       const vfloat delta = load(space.delta + v * kLanes, Full{});
                                       vfloat left = one.left,
                                              dscore = one.weight * (one.dweight - delta);
                                       if constexpr (kCapped) dscore *= one.slope;
                                       if (!sees_all) {
                                         left = select(one.seen, left, vfloat{});
                                         dscore = select(one.seen, dscore, vfloat{});
                                       }
                                       store(weights + r * kQueries + v * kLanes, left, Full{});
                                       store(dscores + r * kQueries + v * kLanes, dscore, Full{});
                                     });
}

// Adds to delta its definition, the sum of weight * dweight over a query's keys.
template <bool kCapped, bool kDropped>
void add_to_delta(const Attention& job, const Dropout& dropout, const QueryBlock& block,
                  const Piece& piece, const BackwardSpace& space, float* weights, float* dscores) {
  for_each_weight<kCapped, kDropped>(job, dropout, block, piece, space, weights, dscores,
                                     [&](int64_t v, int64_t, const Weight& one, bool sees_all) {
                                       vfloat product = one.weight * one.dweight;
                                       if (!sees_all) product = select(one.seen, product, vfloat{});
                                       float* at = space.delta + v * kLanes;
                                       store(at, load(at, Full{}) + product, Full{});
                                     });
}

using OfPiece = void (*)(const Attention&, const Dropout&, const QueryBlock&, const Piece&,
                         const BackwardSpace&, float*, float*);

struct OfPieces {
  OfPiece score_gradient, add_to_delta;
};

template <bool kCapped, bool kDropped>
constexpr OfPieces kOfPieces = {score_gradient<kCapped, kDropped>, add_to_delta<kCapped, kDropped>};

OfPieces of_pieces(const Attention& job) {
  if (job.softcap > 0) return job.dropout_p > 0 ? kOfPieces<true, true> : kOfPieces<true, false>;
  return job.dropout_p > 0 ? kOfPieces<false, true> : kOfPieces<false, false>;
}

// delta = rowsum(dout * out), the sum of weight * dweight over a query's keys. Added in the order
// of the tiles that make dweight: a query with a single key, whose weight is 1, then has delta =
// dweight to the last bit, and no gradient.
void row_sums(const float* dout_columns, const float* out_columns, int64_t value_width,
              int64_t n_vectors, float* delta) {
  for (int64_t v = 0; v < n_vectors; ++v) {
    vfloat sums = {};
    for (int64_t d = 0; d < value_width; ++d) {
      const int64_t at = d * kQueries + v * kLanes;
      sums += load(out_columns + at, Full{}) * load(dout_columns + at, Full{});
    }
    store(delta + v * kLanes, sums, Full{});
  }
}

// What this head writes, at the end of its work, and what the next one reads.
template <class T>
GROUNDUP_INLINE void fetch_ahead(const Attention& job, int64_t h, const NextHead& next,
                                 const Piece& piece) {
  fetch<For::writing, T>(job.dquery, job.dquery_strides, h, piece, job.n_queries, job.width);
  fetch<For::writing, T>(job.dkey, job.dkey_strides, h, piece, job.n_keys, job.width);
  fetch<For::writing, T>(job.dvalue, job.dvalue_strides, h, piece, job.n_keys, job.value_width);
  const Attention& to = next.job;
  h = next.head;
  fetch<For::reading, T>(to.query, to.query_strides, h, piece, to.n_queries, to.width);
  fetch<For::reading, T>(to.key, to.key_strides, h, piece, to.n_keys, to.width);
  fetch<For::reading, T>(to.value, to.value_strides, h, piece, to.n_keys, to.value_width);
  fetch<For::reading, T>(to.out, to.out_strides, h, piece, to.n_queries, to.value_width);
  fetch<For::reading, T>(to.dout, to.dout_strides, h, piece, to.n_queries, to.value_width);
}

template <class T>
void backward_block(const Attention& job, int64_t h, const QueryBlock& block, const Rows& key,
                    const Rows& value, const BackwardSpace& space, const Gathered& gathered,
                    const NextHead& next) {
  const int64_t width = job.width, value_width = job.value_width;
  const int64_t key_stride = padded(width), value_stride = padded(value_width);
  const Dropout dropout(job, job.first_head + h);
  const OfPieces of = of_pieces(job);

  const T* query = row_of<T>(job.query, job.query_strides, h, block.first);
  const T* dout = row_of<T>(job.dout, job.dout_strides, h, block.first);
  const T* out = row_of<T>(job.out, job.out_strides, h, block.first);
  copy_rows(query, job.query_strides.row, block.n, width, space.query_rows);
  copy_rows(dout, job.dout_strides.row, block.n, value_width, space.dout_rows);
  to_columns(space.query_rows, key_stride, block.n, width, (float)job.scale, space.query_columns);
  to_columns(space.dout_rows, value_stride, block.n, value_width, 1, space.dout_columns);
  const float* statistics = row_of<float>(job.statistics, job.statistics_strides, h, block.first);
  for (int64_t i = 0; i < kQueries; ++i) {
    space.largest[i] = i < block.n ? statistics[2 * i] : 0;
    space.inverse_sum[i] = i < block.n ? 1 / statistics[2 * i + 1] : 0;
  }
  __builtin_memset(space.dquery, 0, width * kQueries * sizeof(float));

  const auto score = [&](const Piece& piece, float* weights, float* dscores) {
    const int64_t lanes = piece.begin * kLanes, n_vectors = piece.end - piece.begin;
    multiply<Order::rows, Into::fresh>(key.first + piece.first * key.stride, key.stride,
                                       space.query_columns + lanes, kQueries, weights + lanes,
                                       kQueries, piece.n, n_vectors, width);
    multiply<Order::rows, Into::fresh>(value.first + piece.first * value.stride, value.stride,
                                       space.dout_columns + lanes, kQueries, dscores + lanes,
                                       kQueries, piece.n, n_vectors, value_width);
  };
  // Where all scores of the block have room at once, delta is summed from the weights themselves:
  // out is rounded, and a row of nearly one weight feels it.
  const Keys keys = keys_of(job, block);
  const bool at_once = keys.end - keys.begin <= kKeys;
  if (at_once) {
    __builtin_memset(space.delta, 0, kQueries * sizeof(float));
    for_each_piece(job, block, [&](const Piece& piece) {
      const int64_t at = (piece.first - keys.begin) * kQueries;
      score(piece, space.weights + at, space.dscores + at);
      of.add_to_delta(job, dropout, block, piece, space, space.weights + at, space.dscores + at);
    });
  } else {
    to_columns(out, job.out_strides.row, block.n, value_width, 1, space.out_columns);
    row_sums(space.dout_columns, space.out_columns, value_width, block.n_vectors(), space.delta);
  }

  for_each_piece(job, block, [&](const Piece& piece) {
    if (next.is_known) fetch_ahead<T>(job, h, next, piece);
    const int64_t lanes = piece.begin * kLanes, n_vectors = piece.end - piece.begin;
    const int64_t n_queries = smaller(block.n, piece.end * kLanes) - lanes;
    const int64_t at = at_once ? (piece.first - keys.begin) * kQueries : 0;
    const float* key_rows = key.first + piece.first * key.stride;
    float* weights = space.weights + at;
    float* dscores = space.dscores + at;
    if (!at_once) score(piece, weights, dscores);
    of.score_gradient(job, dropout, block, piece, space, weights, dscores);
    weights += lanes, dscores += lanes;
    multiply<Order::rows, Into::accumulated>(
        weights, kQueries, space.dout_rows + lanes * value_stride, value_stride,
        gathered.value + piece.first * value_stride, value_stride, piece.n,
        (value_width + kLanes - 1) / kLanes, n_queries);
    multiply<Order::rows, Into::accumulated>(dscores, kQueries,
                                             space.query_rows + lanes * key_stride, key_stride,
                                             gathered.key + piece.first * key_stride, key_stride,
                                             piece.n, (width + kLanes - 1) / kLanes, n_queries);
    multiply<Order::columns, Into::accumulated>(key_rows, key.stride, dscores, kQueries,
                                                space.dquery + lanes, kQueries, width, n_vectors,
                                                piece.n);
  });

  float* factors = space.delta;
  for (int64_t i = 0; i < kQueries; ++i) factors[i] = (float)job.scale;
  from_columns(space.dquery, factors, block.n, width,
               (T*)row_of<T>(job.dquery, job.dquery_strides, h, block.first),
               job.dquery_strides.row);
}

// Part `part` of a key head of an entry.
template <class T>
void backward_unit(const Attention& job, int64_t key_head, int64_t part, int64_t n_parts,
                   const BackwardSpace& space, const Gathered& gathered, const NextHead& next) {
  const LiveRows rows = live_rows(job);
  const int64_t group = job.n_heads / job.n_key_heads, n_blocks = rows.n_blocks();
  const Rows key = float_rows(row_of<T>(job.key, job.key_strides, key_head, 0), job.key_strides.row,
                              job.n_keys, job.width, space.key);
  const Rows value = float_rows(row_of<T>(job.value, job.value_strides, key_head, 0),
                                job.value_strides.row, job.n_keys, job.value_width, space.value);
  const int64_t row = padded(job.width) + padded(job.value_width);
  __builtin_memset(gathered.key, 0, job.n_keys * row * sizeof(float));
  // Every n_parts-th block: the late ones, which see more keys, are spread over the parts.
  for (int64_t index = part; index < group * n_blocks; index += n_parts)
    backward_block<T>(job, key_head * group + index / n_blocks,
                      QueryBlock(job, rows, index % n_blocks), key, value, space, gathered, next);
}

template <class T>
void write_row(const float* gathered, int64_t n_parts, int64_t buffer, int64_t width, float factor,
               T* to) {
  for (int64_t d = 0; d < width; d += kLanes) {
    vfloat total = load(gathered + d, Full{});
    for (int64_t part = 1; part < n_parts; ++part)
      total += load(gathered + part * buffer + d, Full{});
    total *= factor;
    if (d + kLanes <= width)
      store(to + d, total, Full{});
    else
      store(to + d, total, First{(int)(width - d)});
  }
}

// Keys [begin, end) of one key head of an entry: the parts added, in order, and written.
template <class T>
void write_keys(const Attention& job, const BackwardUnits& units, int64_t key_head,
                float* first_part, int64_t begin, int64_t end) {
  const Gathered gathered(job, first_part);
  T* dkey = (T*)row_of<T>(job.dkey, job.dkey_strides, key_head, 0);
  T* dvalue = (T*)row_of<T>(job.dvalue, job.dvalue_strides, key_head, 0);
  for (int64_t j = begin; j < end; ++j) {
    write_row(gathered.key + j * padded(job.width), units.n_parts, units.buffer, job.width,
              (float)job.scale, dkey + j * job.dkey_strides.row);
    write_row(gathered.value + j * padded(job.value_width), units.n_parts, units.buffer,
              job.value_width, 1, dvalue + j * job.dvalue_strides.row);
  }
}

template <class T>
void backward_empty_rows(const Attention& job, int64_t h) {
  const LiveRows rows = live_rows(job);
  T* dquery = (T*)row_of<T>(job.dquery, job.dquery_strides, h, 0);
  zero_rows(dquery, job.dquery_strides.row, rows.first, job.width);
  zero_rows(dquery + rows.last * job.dquery_strides.row, job.dquery_strides.row,
            job.n_queries - rows.last, job.width);
}

template <class T>
void backward(const Attention& job) {
  const BackwardUnits units(job);
  const int64_t n_parts = units.n_parts, n_units = units.n_key_heads * n_parts;
  const int64_t space = backward_space_of_thread(job);
  float* buffers = job.space + job.n_threads * space;
#pragma omp parallel num_threads(job.n_threads) if (job.n_threads > 1 && n_units > 1)
  {
    const BackwardSpace own(job, Space{job.space + thread_number() * space});
#pragma omp for schedule(static) nowait
    for (int64_t head = 0; head < job.n_batch * job.n_heads; ++head)
      backward_empty_rows<T>(entry(job, head / job.n_heads), head % job.n_heads);
#pragma omp for schedule(dynamic)
    for (int64_t unit = 0; unit < n_units; ++unit) {
      const int64_t head = unit / n_parts, key_head = head % job.n_key_heads;
      const Attention one = entry(job, head / job.n_key_heads);
      float* buffer = buffers + (n_parts == 1 ? thread_number() : unit) * units.buffer;
      // Units are heads, in the order of forward's tasks, where no query heads share a key head.
      const NextHead next(job, unit, n_parts == 1 && job.n_heads == job.n_key_heads ? n_units : 0);
      backward_unit<T>(one, key_head, unit % n_parts, n_parts, own, Gathered(one, buffer), next);
      if (n_parts == 1) write_keys<T>(one, units, key_head, buffer, 0, one.n_keys);
    }
    if (n_parts > 1) {
      const int64_t n_blocks = (job.n_keys + kKeys - 1) / kKeys;
#pragma omp for schedule(static)
      for (int64_t block = 0; block < units.n_key_heads * n_blocks; ++block) {
        const int64_t head = block / n_blocks, begin = block % n_blocks * kKeys;
        const Attention one = entry(job, head / job.n_key_heads);
        write_keys<T>(one, units, head % job.n_key_heads, buffers + head * n_parts * units.buffer,
                      begin, smaller(begin + kKeys, one.n_keys));
      }
    }
  }
}

}  // namespace

void attention_backward_cpu(const Attention& job) noexcept {
  if (job.is_bfloat16)
    backward<bfloat16>(job);
  else
    backward<float>(job);
}

}  // namespace groundup::GROUNDUP_ISA
