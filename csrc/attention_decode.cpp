// Attention of a few queries over many keys, a decoder's step: the cost is reading keys and values
// from memory, once, for all the query rows that share them.
//
// A task is one chunk of a key head's keys. It leaves, for each query row, the largest score, the
// sum of exp(score - largest) and the sum of the values so weighted; a second pass brings the
// chunks of a row together.
#include "attention_blocks.h"
#include "attention_columns.h"
#include "parallel.h"

namespace groundup::GROUNDUP_ISA {
namespace {

constexpr int64_t kGroup = 16;  // keys that are scored, or values that are summed, at a time
constexpr int64_t kAhead = 64;  // keys
constexpr int64_t kSerialFloats = 1 << 14;  // of keys and values: less does not pay for threads

// What a query row sees of its entry's keys.
struct Seen {
  int64_t begin, end;

  Seen(const Attention& job, int64_t query) {
    const int64_t position = query + job.offset;
    begin = job.left < 0 ? 0 : larger(0, position - job.left);
    end = smaller(job.n_keys, position + 1);
  }
  bool nothing() const { return begin >= end; }
};

// One row's result of one chunk.
struct Result {
  float* sums;  // (Dv padded)
  float *largest, *sum;

  Result(const Attention& job, float* at)
      : sums(at), largest(at + padded(job.value_width)), sum(largest + 1) {}
};

// Where the results of a key head lie: chunk by chunk, row by row.
struct Results {
  float* first;
  DecodeSizes sizes;

  float* at(int64_t key_head, int64_t chunk, int64_t row) const {
    return first + ((key_head * sizes.n_chunks + chunk) * sizes.n_rows + row) * sizes.result;
  }
};

// Some keys or values, and those that will be wanted soon. They are fetched line by line between
// the operations on the ones at hand: all at once they would fill the queue to the memory and hold
// up what stands behind.
template <class T>
struct Lines {
  const T *first, *soon;
  int64_t stride, soon_stride;

  Lines from(int64_t row, int64_t d) const {
    return {first + row * stride + d, soon + row * soon_stride + d, stride, soon_stride};
  }
  inline __attribute__((always_inline)) vfloat at(int64_t row, int64_t d) const {
    __builtin_prefetch(soon + row * soon_stride + d, 0, 2);
    return load(first + row * stride + d, Full{});
  }
};

// Rows that are no whole vectors, in float and with zeros after each row's end.
template <class T>
Lines<float> filled(const T* rows, int64_t stride, int64_t n, int64_t width, float* space) {
  copy_rows(rows, stride, n, width, space);
  return {space, space, padded(width), padded(width)};
}

// Adds each vector's lanes: lane i of the result is the sum of the i-th. Each round interleaves the
// vectors' halves as in transpose, and adds where that goes on to move.
GROUNDUP_INLINE vfloat sums_of_lanes(vfloat (&vectors)[kLanes]) {
#pragma GCC unroll 4
  for (int n = kLanes / 2; n > 0; n /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i)
      vectors[i] =
          interleave_low(vectors[i], vectors[i + n]) + interleave_high(vectors[i], vectors[i + n]);
  return vectors[0];
}

// The products of kRows query rows with kLanes / kRows keys each: as many sums as a vector has
// lanes. `stride` apart lie the queries, kChunk apart the rows of scores.
template <int kRows, class T>
void score_tile(const float* query, int64_t stride, const Lines<T>& keys, int64_t width,
                float* scores) {
  constexpr int kColumns = kLanes / kRows;
  vfloat sums[kLanes] = {};
  // A key at a time, in the order of memory: the hardware's prefetch follows that.
#pragma GCC unroll 16
  for (int j = 0; j < kColumns; ++j)
    for (int64_t d = 0; d < width; d += kLanes) {
      const vfloat key = keys.at(j, d);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r)
        sums[r * kColumns + j] += load(query + r * stride + d, Full{}) * key;
    }
  const vfloat products = sums_of_lanes(sums);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
    __builtin_memcpy(scores + r * kChunk, (const float*)&products + r * kColumns,
                     kColumns * sizeof(float));
}

template <int kRows, class T>
void score_rows(const float* query, int64_t stride, const Lines<T>& keys, int64_t n, int64_t width,
                float* scores) {
  constexpr int kColumns = kLanes / kRows;
  int64_t j = 0;
  for (; j + kColumns <= n; j += kColumns)
    score_tile<kRows>(query, stride, keys.from(j, 0), width, scores + j);
  for (; j < n; ++j)
    for (int r = 0; r < kRows; ++r) {
      vfloat products = {};
      for (int64_t d = 0; d < width; d += kLanes)
        products += load(query + r * stride + d, Full{}) * keys.at(j, d);
      scores[r * kChunk + j] = (float)sum(products);
    }
}

// kRows rows of sums += weights times values; kVectors vectors of each.
template <int kRows, int kVectors, class T>
void sum_tile(const float* weights, const Lines<T>& values, int64_t n, float* sums,
              int64_t sums_stride) {
  vfloat tile[kRows][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      tile[r][v] = load(sums + r * sums_stride + v * kLanes, Full{});
  for (int64_t j = 0; j < n; ++j)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const vfloat value = values.at(j, v * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) tile[r][v] += splat(weights[r * kChunk + j]) * value;
    }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      store(sums + r * sums_stride + v * kLanes, tile[r][v], Full{});
}

template <int kRows, class T>
void sum_rows(const float* weights, const Lines<T>& values, int64_t n, int64_t width, float* sums,
              int64_t sums_stride) {
  int64_t d = 0;
  for (; d + 3 * kLanes < width; d += 4 * kLanes)
    sum_tile<kRows, 4>(weights, values.from(0, d), n, sums + d, sums_stride);
  for (; d < width; d += kLanes)
    sum_tile<kRows, 1>(weights, values.from(0, d), n, sums + d, sums_stride);
}

// Groups of keys against all query rows, 4, 2 or 1 at a time. The later ones find the keys in the
// nearest cache, and have nothing to fetch.
template <class T>
void score_group(const float* query, int64_t stride, int64_t n_rows, Lines<T> keys, int64_t n,
                 int64_t width, float* scores) {
  for (int64_t row = 0, step; row < n_rows; row += step) {
    const float* at = query + row * stride;
    step = n_rows - row >= 4 ? 4 : n_rows - row >= 2 ? 2 : 1;
    const auto rows = step == 4   ? score_rows<4, T>
                      : step == 2 ? score_rows<2, T>
                                  : score_rows<1, T>;
    rows(at, stride, keys, n, width, scores + row * kChunk);
    keys.soon = keys.first, keys.soon_stride = keys.stride;
  }
}

template <class T>
void sum_group(const float* weights, int64_t n_rows, Lines<T> values, int64_t n, int64_t width,
               float* sums, int64_t sums_stride) {
  for (int64_t row = 0, step; row < n_rows; row += step) {
    step = n_rows - row >= 4 ? 4 : n_rows - row >= 2 ? 2 : 1;
    const auto rows = step == 4 ? sum_rows<4, T> : step == 2 ? sum_rows<2, T> : sum_rows<1, T>;
    rows(weights + row * kChunk, values, n, width, sums + row * sums_stride, sums_stride);
    values.soon = values.first, values.soon_stride = values.stride;
  }
}

// The scores of `n` keys, of which those in [begin, end) are seen, to exp(score - largest); zeros
// up to a whole vector.
void chunk_softmax(float* scores, int64_t n, int64_t begin, int64_t end, float softcap,
                   Result result) {
  const int64_t n_whole = (n + kLanes - 1) / kLanes * kLanes;
  if (softcap > 0)
    for (int64_t j = 0; j < n; j += kLanes)
      store(scores + j, tanh(load(scores + j, Full{}) * (1 / softcap)) * softcap, Full{});
  for (int64_t j = 0; j < begin; ++j) scores[j] = -kInfinity;
  for (int64_t j = end; j < n_whole; ++j) scores[j] = -kInfinity;
  vfloat high = splat(-kInfinity);
  for (int64_t j = 0; j < n; j += kLanes) high = max(load(scores + j, Full{}), high);
  *result.largest = largest(high);
  const float shift = *result.largest == -kInfinity ? 0 : *result.largest;
  vfloat total = {};
  for (int64_t j = 0; j < n; j += kLanes) {
    const vfloat e = exp_softmax(load(scores + j, Full{}) - shift);
    total += e;
    store(scores + j, e, Full{});
  }
  *result.sum = (float)sum(total);
}

template <class T>
void decode_chunk(const Attention& job, int64_t key_head, int64_t head_number, int64_t chunk,
                  const DecodeSpace& space, const Results& results) {
  const int64_t n_rows = results.sizes.n_rows, group = job.n_heads / job.n_key_heads;
  const int64_t first = chunk * kChunk, query_stride = padded(job.width);
  const Seen earliest(job, 0), latest(job, job.n_queries - 1);
  const int64_t n = smaller(kChunk, latest.end - first);
  if (n <= 0 || first + n <= earliest.begin) return;

  for (int64_t g = 0; g < group; ++g)
    copy_rows(row_of<T>(job.query, job.query_strides, key_head * group + g, 0),
              job.query_strides.row, job.n_queries, job.width,
              space.query + g * job.n_queries * query_stride);
  for (int64_t i = 0; i < n_rows * query_stride; i += kLanes)
    store(space.query + i, load(space.query + i, Full{}) * (float)job.scale, Full{});

  const T* key = row_of<T>(job.key, job.key_strides, key_head, first);
  const T* value = row_of<T>(job.value, job.value_strides, key_head, first);
  const int64_t key_stride = job.key_strides.row, value_stride = job.value_strides.row;
  for (int64_t j = 0; j < n; j += kGroup) {
    const int64_t n_group = smaller(kGroup, n - j), next = j + kAhead;
    const T* at = key + j * key_stride;
    const auto score = [&](const auto& keys) {
      score_group(space.query, query_stride, n_rows, keys, n_group, job.width, space.scores + j);
    };
    if (job.width % kLanes != 0)
      score(filled(at, key_stride, n_group, job.width, space.group));
    else if (next < n)
      score(Lines<T>{at, key + next * key_stride, key_stride, key_stride});
    else
      score(Lines<T>{at, value + (next - n) * value_stride, key_stride, value_stride});
  }
  for (int64_t row = 0; row < n_rows; ++row) {
    const Seen seen(job, row % job.n_queries);
    const Result result(job, results.at(head_number, chunk, row));
    const int64_t begin = smaller(n, larger(0, seen.begin - first));
    chunk_softmax(space.scores + row * kChunk, n, begin,
                  larger(begin, smaller(n, seen.end - first)), (float)job.softcap, result);
    __builtin_memset(result.sums, 0, padded(job.value_width) * sizeof(float));
  }
  for (int64_t j = 0; j < n; j += kGroup) {
    const int64_t n_group = smaller(kGroup, n - j), next = smaller(j + kAhead, n - n_group);
    const T* at = value + j * value_stride;
    const auto add = [&](const auto& values) {
      sum_group(space.scores + j, n_rows, values, n_group, job.value_width,
                results.at(head_number, chunk, 0), results.sizes.result);
    };
    if (job.value_width % kLanes != 0)
      add(filled(at, value_stride, n_group, job.value_width, space.group));
    else
      add(Lines<T>{at, value + next * value_stride, value_stride, value_stride});
  }
}

// The chunks of one query row brought together, and written.
template <class T>
void decode_row(const Attention& job, int64_t h, int64_t head_number, int64_t query,
                const Results& results) {
  const int64_t row = h % (job.n_heads / job.n_key_heads) * job.n_queries + query;
  const Seen seen(job, query);
  T* out = (T*)row_of<T>(job.out, job.out_strides, h, query);
  float* statistics = (float*)row_of<float>(job.statistics, job.statistics_strides, h, query);
  float most = seen.nothing() ? 0 : -kInfinity, total = 0;
  const int64_t begin = seen.begin / kChunk;
  const int64_t end = seen.nothing() ? begin : (seen.end + kChunk - 1) / kChunk;
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    const Result part(job, results.at(head_number, chunk, row));
    if (*part.largest > most) most = *part.largest;
  }
  // The first chunk's sums are scaled where they lie, and the others' added to them.
  const Result whole(job, results.at(head_number, begin, row));
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    const Result part(job, results.at(head_number, chunk, row));
    const vfloat factor = exp_softmax(splat(*part.largest - (most == -kInfinity ? 0 : most)));
    total += *part.sum * factor[0];
    for (int64_t d = 0; d < job.value_width; d += kLanes) {
      const vfloat before = chunk == begin ? vfloat{} : load(whole.sums + d, Full{});
      store(whole.sums + d, before + load(part.sums + d, Full{}) * factor, Full{});
    }
  }
  if (job.statistics) statistics[0] = most, statistics[1] = total;
  for (int64_t d = 0; d < job.value_width; d += kLanes) {
    // Every score -inf: 0 / 0 in the softmax.
    const vfloat mean = seen.nothing() ? vfloat{} : load(whole.sums + d, Full{}) / splat(total);
    store_some(out + d, mean, job.value_width - d);
  }
}

template <class T>
void decode(const Attention& job) {
  const DecodeSizes sizes(job);
  const int64_t space = decode_space_of_thread(job);
  const Results results{job.space + job.n_threads * space, sizes};
  const int64_t n_tasks = job.n_batch * job.n_key_heads * sizes.n_chunks;
  const int64_t n_rows = job.n_batch * job.n_heads * job.n_queries;
  const int64_t n_floats =
      job.n_batch * job.n_key_heads * job.n_keys * (job.width + job.value_width);
#pragma omp parallel num_threads(job.n_threads) if (job.n_threads > 1 && n_floats > kSerialFloats)
  {
    const DecodeSpace own(job, sizes, Space{job.space + thread_number() * space});
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < n_tasks; ++task) {
      const int64_t head = task / sizes.n_chunks;
      decode_chunk<T>(entry(job, head / job.n_key_heads), head % job.n_key_heads, head,
                      task % sizes.n_chunks, own, results);
    }
#pragma omp for schedule(static)
    for (int64_t row = 0; row < n_rows; ++row) {
      const int64_t head = row / job.n_queries, b = head / job.n_heads, h = head % job.n_heads;
      const int64_t key_head = b * job.n_key_heads + h / (job.n_heads / job.n_key_heads);
      decode_row<T>(entry(job, b), h, key_head, row % job.n_queries, results);
    }
  }
}

}  // namespace

void attention_decode_cpu(const Attention& job) noexcept {
  if (job.is_bfloat16)
    decode<bfloat16>(job);
  else
    decode<float>(job);
}

}  // namespace groundup::GROUNDUP_ISA
