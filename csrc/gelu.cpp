// x times a share between 0 and 1, which is a distribution function. Derivation: docs/gelu.md.
#include "gelu.h"

#include "gelu_share.h"
#include "parallel.h"

namespace groundup::GROUNDUP_ISA {
namespace {

// A chunk is a whole number of vectors of every instruction set: threads change no result.
constexpr int64_t kChunk = 8192;
constexpr int64_t kSerialElements = 16384;
constexpr int64_t kStreamBytes = 8 << 20;  // an output of this size does not stay in cache

template <class T, bool kTanh>
GROUNDUP_INLINE GeluShare share_of(vfloat x) {
  if constexpr (kTanh)
    return gelu_tanh(x);
  else
    return gelu_exact<T>(x);
}

template <class T, bool kTanh, bool kBackward, bool kStream>
void part(const Gelu& job, int64_t begin, int64_t end) {
  const T* input = (const T*)job.input;
  const T* doutput = (const T*)job.doutput;
  T* output = (T*)job.output;
  const auto at = [&](int64_t i, auto lanes) __attribute__((always_inline)) {
    const vfloat x = load(input + i, lanes);
    const GeluShare s = share_of<T, kTanh>(x);
    const vfloat y = kBackward ? load(doutput + i, lanes) * (s.share + x * s.slope) : x * s.share;
    if constexpr (kStream)
      store_streaming(output + i, y, lanes);
    else
      store(output + i, y, lanes);
  };
  int64_t i = begin;
  for (; i + 2 * kLanes <= end; i += 2 * kLanes) at(i, Full{}), at(i + kLanes, Full{});
  for (; i + kLanes <= end; i += kLanes) at(i, Full{});
  if (i < end) at(i, First{(int)(end - i)});
  if constexpr (kStream) streaming_done();
}

using Part = void (*)(const Gelu&, int64_t, int64_t);

template <class T, bool kBackward>
Part part_of(const Gelu& job) {
  // Chunks are whole vectors, so they are aligned where the output is.
  const bool stream = job.n * (int64_t)sizeof(T) >= kStreamBytes &&
                      (uintptr_t)job.output % (kLanes * sizeof(T)) == 0;
  if (job.is_tanh) return stream ? part<T, true, kBackward, true> : part<T, true, kBackward, false>;
  return stream ? part<T, false, kBackward, true> : part<T, false, kBackward, false>;
}

template <bool kBackward>
Part part_of(const Gelu& job) {
  return job.is_bfloat16 ? part_of<bfloat16, kBackward>(job) : part_of<float, kBackward>(job);
}

void run(const Gelu& job, Part part) {
  const int64_t n_chunks = (job.n + kChunk - 1) / kChunk;
  const int threads = job.n < kSerialElements ? 1 : usable_threads();
  // Several chunks at a time, where every thread still gets a few times its turn.
  const int64_t turns = n_chunks / (4 * threads), together = turns < 1 ? 1 : turns < 4 ? turns : 4;
  (void)together;  // unused without OpenMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, together) if (threads > 1)
  for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
    const int64_t begin = chunk * kChunk;
    part(job, begin, begin + kChunk < job.n ? begin + kChunk : job.n);
  }
}

}  // namespace

void gelu_forward_cpu(const Gelu& job) noexcept { run(job, part_of<false>(job)); }
void gelu_backward_cpu(const Gelu& job) noexcept { run(job, part_of<true>(job)); }

}  // namespace groundup::GROUNDUP_ISA
