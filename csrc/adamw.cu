// The step and the norm before it, on a CUDA device: a block takes a chunk of a tensor.
// Derivation: docs/adamw.md.
#include "adamw.cuh"

namespace groundup {
namespace {

constexpr int kBlock = 256;
constexpr int kLane = 4;  // elements that a thread works on at once

struct alignas(16) Four {
  float of[kLane];
};

template <class T>
struct alignas(kLane * sizeof(T)) FourOf {
  T of[kLane];
};

template <class T>
__device__ Four load_as(const void* column, int64_t i) {
  const auto stored = *reinterpret_cast<const FourOf<T>*>(static_cast<const T*>(column) + i);
  Four four;
#pragma unroll
  for (int k = 0; k < kLane; ++k) four.of[k] = to_float(stored.of[k]);
  return four;
}

template <class T>
__device__ void store_as(void* column, int64_t i, const Four& four) {
  FourOf<T> stored;
#pragma unroll
  for (int k = 0; k < kLane; ++k) from_float(four.of[k], stored.of[k]);
  *reinterpret_cast<FourOf<T>*>(static_cast<T*>(column) + i) = stored;
}

// The dtype is the same for a whole block, so these branches part no warp.
__device__ Four load(const void* column, Dtype dtype, int64_t i) {
  if (dtype == Dtype::float32) return load_as<float>(column, i);
  if (dtype == Dtype::bfloat16) return load_as<__nv_bfloat16>(column, i);
  return load_as<__half>(column, i);
}

__device__ void store(void* column, Dtype dtype, int64_t i, const Four& four) {
  if (dtype == Dtype::float32) return store_as<float>(column, i, four);
  if (dtype == Dtype::bfloat16) return store_as<__nv_bfloat16>(column, i, four);
  store_as<__half>(column, i, four);
}

__device__ float load_one(const void* column, Dtype dtype, int64_t i) {
  if (dtype == Dtype::float32) return static_cast<const float*>(column)[i];
  if (dtype == Dtype::bfloat16) return to_float(static_cast<const __nv_bfloat16*>(column)[i]);
  return to_float(static_cast<const __half*>(column)[i]);
}

__device__ void store_one(void* column, Dtype dtype, int64_t i, float value) {
  if (dtype == Dtype::float32)
    static_cast<float*>(column)[i] = value;
  else if (dtype == Dtype::bfloat16)
    from_float(value, static_cast<__nv_bfloat16*>(column)[i]);
  else
    from_float(value, static_cast<__half*>(column)[i]);
}

__device__ Dtype param_dtype(const AdamWTensor& tensor) {
  return static_cast<Dtype>(tensor.kind & 3);
}

__device__ Dtype state_dtype(const AdamWTensor& tensor) {
  return static_cast<Dtype>(tensor.kind >> kStateShift & 3);
}

struct Element {
  float param, grad, exp_avg, exp_avg_sq, largest;
};

// (rest2 * g) * g and not rest2 * (g * g): the square alone may overflow.
__device__ void update(Element& e, const AdamWCoefficients& c, float clip, bool amsgrad) {
  e.grad *= clip;
  const float g = e.grad * c.sign;
  // Not beta1 * m + rest1 * g: rounded, the two do not add up to 1, and the average drifts.
  const float way = g - e.exp_avg;
  e.exp_avg = c.rest1 < 0.5f ? e.exp_avg + way * c.rest1 : g - way * c.beta1;
  e.exp_avg_sq = e.exp_avg_sq * c.beta2 + (g * c.rest2) * g;
  // As torch's maximum: NaN in either stays.
  if (amsgrad)
    e.largest =
        e.exp_avg_sq >= e.largest || e.exp_avg_sq != e.exp_avg_sq ? e.exp_avg_sq : e.largest;
  const float second = amsgrad ? e.largest : e.exp_avg_sq;
  const float denominator = sqrtf(second) * c.inverse_root + c.eps;
  e.param = e.param * c.decay - e.exp_avg * c.step_size / denominator;
}

__global__ void __launch_bounds__(kBlock) adamw_step_kernel(const AdamWCuda job) {
  for (int64_t chunk = blockIdx.x; chunk < job.n_chunks; chunk += gridDim.x) {
    const AdamWTensor& tensor = job.tensors[job.chunks[chunk].tensor];
    const AdamWCoefficients c = tensor.coefficients;
    const Dtype dtype = param_dtype(tensor), state = state_dtype(tensor);
    const bool amsgrad = tensor.kind & kCudaAmsgrad;
    void* const* const at = tensor.pointers;
    const float clip = job.max_grad_norm > 0 ? job.norm[1] : 1.0f;
    const bool write_grads = job.write_grads && clip != 1.0f;
    const int64_t begin = job.chunks[chunk].index * kCudaChunk;
    const int64_t rest = tensor.size - begin;
    const int n = rest < kCudaChunk ? static_cast<int>(rest) : static_cast<int>(kCudaChunk);
    const int n_fours = tensor.kind & kVectors ? n / kLane : 0;
    for (int v = threadIdx.x; v < n_fours; v += kBlock) {
      const int64_t i = begin + v * kLane;
      Four param = load(at[kParam], dtype, i), grad = load(at[kGrad], dtype, i);
      Four exp_avg = load(at[kExpAvg], state, i), exp_avg_sq = load(at[kExpAvgSq], state, i);
      Four largest = exp_avg_sq;
      if (amsgrad) largest = load(at[kMaxExpAvgSq], state, i);
#pragma unroll
      for (int k = 0; k < kLane; ++k) {
        Element e{param.of[k], grad.of[k], exp_avg.of[k], exp_avg_sq.of[k], largest.of[k]};
        update(e, c, clip, amsgrad);
        param.of[k] = e.param, grad.of[k] = e.grad, exp_avg.of[k] = e.exp_avg;
        exp_avg_sq.of[k] = e.exp_avg_sq, largest.of[k] = e.largest;
      }
      store(at[kParam], dtype, i, param);
      if (write_grads) store(at[kGrad], dtype, i, grad);
      store(at[kExpAvg], state, i, exp_avg);
      store(at[kExpAvgSq], state, i, exp_avg_sq);
      if (amsgrad) store(at[kMaxExpAvgSq], state, i, largest);
    }
    for (int k = n_fours * kLane + threadIdx.x; k < n; k += kBlock) {
      const int64_t i = begin + k;
      Element e{load_one(at[kParam], dtype, i), load_one(at[kGrad], dtype, i),
                load_one(at[kExpAvg], state, i), load_one(at[kExpAvgSq], state, i), 0};
      if (amsgrad) e.largest = load_one(at[kMaxExpAvgSq], state, i);
      update(e, c, clip, amsgrad);
      store_one(at[kParam], dtype, i, e.param);
      if (write_grads) store_one(at[kGrad], dtype, i, e.grad);
      store_one(at[kExpAvg], state, i, e.exp_avg);
      store_one(at[kExpAvgSq], state, i, e.exp_avg_sq);
      if (amsgrad) store_one(at[kMaxExpAvgSq], state, i, e.largest);
    }
  }
}

// In thread 0: a tree over the threads' own sums, so no order changes.
__device__ double sum_block(double own) {
  __shared__ double of_thread[kBlock];
  __syncthreads();  // the sum before was read
  of_thread[threadIdx.x] = own;
  for (int half = kBlock / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) of_thread[threadIdx.x] += of_thread[threadIdx.x + half];
  }
  return of_thread[0];
}

__global__ void __launch_bounds__(kBlock) adamw_squares_kernel(const AdamWCuda job) {
  for (int64_t chunk = blockIdx.x; chunk < job.n_chunks; chunk += gridDim.x) {
    const AdamWTensor& tensor = job.tensors[job.chunks[chunk].tensor];
    const void* const grad = tensor.pointers[kGrad];
    const Dtype dtype = param_dtype(tensor);
    const int64_t begin = job.chunks[chunk].index * kCudaChunk;
    const int64_t rest = tensor.size - begin;
    const int n = rest < kCudaChunk ? static_cast<int>(rest) : static_cast<int>(kCudaChunk);
    const int n_fours = tensor.kind & kVectors ? n / kLane : 0;
    float sum = 0;  // of 64 squares
    for (int v = threadIdx.x; v < n_fours; v += kBlock) {
      const Four g = load(grad, dtype, begin + v * kLane);
#pragma unroll
      for (int k = 0; k < kLane; ++k) sum += g.of[k] * g.of[k];
    }
    for (int k = n_fours * kLane + threadIdx.x; k < n; k += kBlock) {
      const float g = load_one(grad, dtype, begin + k);
      sum += g * g;
    }
    const double total = sum_block(sum);
    if (threadIdx.x == 0) job.square_sums[chunk] = total;
  }
}

__global__ void __launch_bounds__(kBlock) adamw_norm_kernel(const AdamWCuda job) {
  double own = 0;
  for (int64_t chunk = threadIdx.x; chunk < job.n_chunks; chunk += kBlock)
    own += job.square_sums[chunk];
  const double total = sum_block(own);
  if (threadIdx.x != 0) return;
  const double norm = sqrt(total), ratio = job.max_grad_norm / (norm + 1e-6);
  job.norm[0] = static_cast<float>(norm);
  job.norm[1] = ratio > 1 ? 1.0f : static_cast<float>(ratio);  // NaN stays NaN
}

}  // namespace

void adamw_cuda_chunk_table(const int64_t* sizes, int64_t n_tensors, AdamWChunk* chunks) {
  for (int64_t t = 0; t < n_tensors; ++t)
    for (int64_t i = 0; i * kCudaChunk < sizes[t]; ++i)
      *chunks++ = {static_cast<int>(t), static_cast<int>(i)};
}

void adamw_cuda_tensor_table(const AdamW& job, AdamWTensor* tensors) {
  const auto at = [&](int column, int64_t t) { return job.pointers[column * job.n_tensors + t]; };
  const float* before = nullptr;
  for (int64_t t = 0; t < job.n_tensors; ++t) {
    AdamWTensor& tensor = tensors[t];
    tensor.size = job.sizes[t];
    tensor.kind = static_cast<int>(job.kinds[t]);
    uintptr_t past = 0;
    for (int column = 0; column < kStep; ++column) {
      tensor.pointers[column] = at(column, t);
      const bool of_state = column >= kExpAvg;
      const int dtype = of_state ? tensor.kind >> kStateShift & 3 : tensor.kind & 3;
      const uintptr_t boundary = kLane * (static_cast<Dtype>(dtype) == Dtype::float32 ? 4 : 2);
      past |= reinterpret_cast<uintptr_t>(tensor.pointers[column]) % boundary;
    }
    if (past == 0) tensor.kind |= kVectors;
    float* const step = static_cast<float*>(at(kStep, t));
    *step += 1;
    // Steps are counted per tensor, since one without a gradient is left out; most agree.
    if (before && job.groups_of[t] == job.groups_of[t - 1] && *step == *before)
      tensor.coefficients = tensors[t - 1].coefficients;
    else
      tensor.coefficients = adamw_coefficients(job.groups[job.groups_of[t]], *step);
    before = step;
  }
}

void adamw_step_cuda(const AdamWCuda& job, cudaStream_t stream) {
  const int64_t blocks = job.n_chunks < INT32_MAX ? job.n_chunks : INT32_MAX;
  if (job.max_grad_norm > 0) {
    if (blocks > 0) launch(adamw_squares_kernel, blocks, kBlock, stream, "adamw: norm", job);
    launch(adamw_norm_kernel, 1, kBlock, stream, "adamw: norm", job);
  }
  if (blocks > 0) launch(adamw_step_kernel, blocks, kBlock, stream, "adamw: step", job);
}

}  // namespace groundup
