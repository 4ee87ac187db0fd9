// What the CUDA sources share: calls whose failure is a sentence, the dtypes, and 16-byte access.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include <stdexcept>
#include <string>

namespace groundup {

// The codes of the bindings.
enum class Dtype : int { float32, bfloat16, float16 };

constexpr int kWarp = 32;
constexpr int kVectorBytes = 16;

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::string sentence = std::string(what) + ": CUDA answered \"" + cudaGetErrorString(status) +
                         "\" (" + cudaGetErrorName(status) + ")";
  if (status == cudaErrorInsufficientDriver)
    sentence += "; update the driver, or build groundup with a CUDA toolkit that it supports";
  if (status == cudaErrorNoKernelImageForDevice)
    sentence +=
        "; build groundup on the machine that has the device, or name its architecture in "
        "GROUNDUP_CUDA_ARCHITECTURES";
  throw std::runtime_error(sentence);
}

// The runtime linked in here is not torch's. Both work in the device's primary context, so torch's
// memory and streams are good here once that device is current to this thread.
inline cudaStream_t stream_on(int device, uintptr_t stream) {
  check(cudaSetDevice(device), "choosing the device");
  return reinterpret_cast<cudaStream_t>(stream);
}

template <class Job>
void launch(void (*kernel)(Job), int64_t blocks, int threads, cudaStream_t stream, const char* what,
            const Job& job) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, job), what);
}

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }

__device__ inline void from_float(float x, float& out) { out = x; }
__device__ inline void from_float(float x, __nv_bfloat16& out) { out = __float2bfloat16_rn(x); }
__device__ inline void from_float(float x, __half& out) { out = __float2half_rn(x); }

// As many elements as one 16-byte access moves.
template <class T>
struct alignas(kVectorBytes) Vector {
  static constexpr int kSize = kVectorBytes / sizeof(T);
  T of[kSize];
};

// Elements of [p, p + n) before the first 16-byte boundary.
template <class T>
__device__ inline int head_of(const T* p, int n) {
  const int past = static_cast<int>(reinterpret_cast<uintptr_t>(p) % kVectorBytes);
  const int head = past == 0 ? 0 : (kVectorBytes - past) / static_cast<int>(sizeof(T));
  return head < n ? head : n;
}

}  // namespace groundup
