// Attention forward: online softmax over pieces of keys, a block of queries at a time.
#include "attention.h"

#include "attention_blocks.h"
#include "attention_columns.h"
#include "attention_dropout.h"
#include "attention_tiles.h"
#include "parallel.h"

namespace groundup::GROUNDUP_ISA {
namespace {

void cap_scores(const Piece& piece, float* scores, float cap) {
  for (int64_t r = 0; r < piece.n; ++r)
    for (int64_t v = piece.begin; v < piece.end; ++v) {
      float* at = scores + r * kQueries + v * kLanes;
      store(at, tanh(load(at, Full{}) * (1 / cap)) * cap, Full{});
    }
}

void hide_scores(const Piece& piece, float* scores) {
  for (int64_t v = piece.begin; v < piece.end; ++v) {
    if (piece.sees_all(v)) continue;
    const vint lanes = lane_numbers() + (int32_t)(v * kLanes);
    for (int64_t r = 0; r < piece.n; ++r) {
      float* at = scores + r * kQueries + v * kLanes;
      store(at, select(piece.sees(lanes, r), load(at, Full{}), splat(-kInfinity)), Full{});
    }
  }
}

// Scores to exp(score - largest); the sums so far are brought to the new largest. Returns whether
// any lane's factor, by which its earlier output must be multiplied, is not 1.
bool online_softmax(const Piece& piece, const ForwardSpace& space) {
  bool changed = false;
  for (int64_t v = piece.begin; v < piece.end; ++v) {
    float* scores = space.scores + v * kLanes;
    vfloat high[2] = {load(space.largest + v * kLanes, Full{}), splat(-kInfinity)};
    const vfloat before = high[0];
    for (int64_t r = 0; r < piece.n; ++r)
      high[r % 2] = max(load(scores + r * kQueries, Full{}), high[r % 2]);
    const vfloat largest = max(high[0], high[1]);
    // A query that has met nothing but -inf keeps a sum of 0, not the NaN of -inf - -inf.
    const vfloat shift = select(largest == -kInfinity, vfloat{}, largest);
    const vfloat factor = exp_softmax(before - shift);
    vfloat sums[2] = {load(space.sum + v * kLanes, Full{}) * factor, vfloat{}};
    for (int64_t r = 0; r < piece.n; ++r) {
      const vfloat e = exp_softmax(load(scores + r * kQueries, Full{}) - shift);
      sums[r % 2] += e;
      store(scores + r * kQueries, e, Full{});
    }
    store(space.largest + v * kLanes, largest, Full{});
    store(space.sum + v * kLanes, sums[0] + sums[1], Full{});
    store(space.factor + v * kLanes, factor, Full{});
    const vint same = factor == 1.0f;
    for (int i = 0; i < kLanes; ++i) changed |= same[i] == 0;
  }
  return changed;
}

void scale_out(const Piece& piece, const ForwardSpace& space, int64_t value_width) {
  for (int64_t d = 0; d < value_width; ++d)
    for (int64_t v = piece.begin; v < piece.end; ++v) {
      float* at = space.out + d * kQueries + v * kLanes;
      store(at, load(at, Full{}) * load(space.factor + v * kLanes, Full{}), Full{});
    }
}

void drop_weights(const Dropout& dropout, const QueryBlock& block, const Piece& piece,
                  float* weights) {
  for (int64_t v = piece.begin; v < piece.end; ++v) {
    const vuint queries = (vuint)lane_numbers() + (uint32_t)(block.first + v * kLanes);
    Words words;
    int64_t four = -1;
    for (int64_t r = 0; r < piece.n; ++r) {
      float* at = weights + r * kQueries + v * kLanes;
      const vint kept = dropout.kept(queries, piece.first + r, words, four);
      store(at, select(kept, load(at, Full{}), vfloat{}), Full{});
    }
  }
}

template <class T>
GROUNDUP_INLINE void fetch_inputs(const NextHead& next, const Piece& piece) {
  const Attention& job = next.job;
  const int64_t h = next.head, key_head = h / (job.n_heads / job.n_key_heads);
  fetch<For::reading, T>(job.query, job.query_strides, h, piece, job.n_queries, job.width);
  fetch<For::reading, T>(job.key, job.key_strides, key_head, piece, job.n_keys, job.width);
  fetch<For::reading, T>(job.value, job.value_strides, key_head, piece, job.n_keys,
                         job.value_width);
}

template <class T>
void forward_block(const Attention& job, int64_t h, const QueryBlock& block,
                   const ForwardSpace& space, const NextHead& next) {
  const int64_t key_head = h / (job.n_heads / job.n_key_heads);
  const Dropout dropout(job, job.first_head + h);
  to_columns(row_of<T>(job.query, job.query_strides, h, block.first), job.query_strides.row,
             block.n, job.width, (float)job.scale, space.query);
  __builtin_memset(space.out, 0, job.value_width * kQueries * sizeof(float));
  for (int64_t i = 0; i < kQueries; ++i) space.largest[i] = -kInfinity, space.sum[i] = 0;

  for_each_piece(job, block, [&](const Piece& piece) {
    if (next.is_known) fetch_inputs<T>(next, piece);
    const int64_t lanes = piece.begin * kLanes, n_vectors = piece.end - piece.begin;
    const Rows key = float_rows(row_of<T>(job.key, job.key_strides, key_head, piece.first),
                                job.key_strides.row, piece.n, job.width, space.key);
    multiply<Order::rows, Into::fresh>(key.first, key.stride, space.query + lanes, kQueries,
                                       space.scores + lanes, kQueries, piece.n, n_vectors,
                                       job.width);
    if (job.softcap > 0) cap_scores(piece, space.scores, (float)job.softcap);
    hide_scores(piece, space.scores);
    if (online_softmax(piece, space)) scale_out(piece, space, job.value_width);
    if (job.dropout_p > 0) drop_weights(dropout, block, piece, space.scores);
    const Rows value = float_rows(row_of<T>(job.value, job.value_strides, key_head, piece.first),
                                  job.value_strides.row, piece.n, job.value_width, space.value);
    multiply<Order::columns, Into::accumulated>(value.first, value.stride, space.scores + lanes,
                                                kQueries, space.out + lanes, kQueries,
                                                job.value_width, n_vectors, piece.n);
  });

  if (job.statistics) {
    float* statistics =
        (float*)row_of<float>(job.statistics, job.statistics_strides, h, block.first);
    for (int64_t i = 0; i < block.n; ++i) {
      statistics[2 * i] = space.largest[i];
      statistics[2 * i + 1] = space.sum[i];
    }
  }
  for (int64_t i = 0; i < block.n; ++i) {
    // Every score -inf: 0 / 0 in the softmax.
    space.factor[i] =
        space.sum[i] == 0 ? __builtin_nanf("") : (float)(1 / (space.sum[i] * (1 - job.dropout_p)));
  }
  from_columns(space.out, space.factor, block.n, job.value_width,
               (T*)row_of<T>(job.out, job.out_strides, h, block.first), job.out_strides.row);
}

// Zeros for the rows of an entry's head that see no key.
template <class T>
void forward_empty_rows(const Attention& job, int64_t h) {
  const LiveRows rows = live_rows(job);
  T* out = (T*)row_of<T>(job.out, job.out_strides, h, 0);
  zero_rows(out, job.out_strides.row, rows.first, job.value_width);
  zero_rows(out + rows.last * job.out_strides.row, job.out_strides.row, job.n_queries - rows.last,
            job.value_width);
  if (!job.statistics) return;
  float* statistics = (float*)row_of<float>(job.statistics, job.statistics_strides, h, 0);
  for (int64_t i = 0; i < 2 * rows.first; ++i) statistics[i] = 0;
  for (int64_t i = 2 * rows.last; i < 2 * job.n_queries; ++i) statistics[i] = 0;
}

template <class T>
void forward(const Attention& job) {
  const int64_t n_heads = job.n_batch * job.n_heads;
  const int64_t n_tasks = job.n_heads * job.blocks_before[job.n_batch];
  const int64_t space = forward_space_of_thread(job);
#pragma omp parallel num_threads(job.n_threads) if (job.n_threads > 1 && n_tasks > 1)
  {
    const ForwardSpace own(job, Space{job.space + thread_number() * space});
#pragma omp for schedule(dynamic) nowait
    for (int64_t task = 0; task < n_tasks; ++task) {
      const int64_t b = entry_of_block(job, task / job.n_heads);
      const int64_t before = job.blocks_before[b], n_blocks = job.blocks_before[b + 1] - before;
      const int64_t own_task = task - job.n_heads * before;
      const Attention one = entry(job, b);
      // The long blocks first, so that no thread is left with one at the end.
      forward_block<T>(one, own_task / n_blocks,
                       QueryBlock(one, live_rows(one), n_blocks - 1 - own_task % n_blocks), own,
                       NextHead(job, task, n_tasks));
    }
#pragma omp for schedule(static) nowait
    for (int64_t head = 0; head < n_heads; ++head)
      forward_empty_rows<T>(entry(job, head / job.n_heads), head % job.n_heads);
  }
}

}  // namespace

void attention_forward_cpu(const Attention& job) noexcept {
  if (job.is_bfloat16)
    forward<bfloat16>(job);
  else
    forward<float>(job);
}

}  // namespace groundup::GROUNDUP_ISA
