// One AdamW step over all parameters on a CUDA device. Derivation: docs/adamw.md.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#include "adamw.h"  // AdamWGroup, AdamWColumn, AdamWCoefficients
#include "launch.cuh"

namespace groundup {

// Bits of a tensor's kind: two of the parameter's and gradient's Dtype, two of the moments', and
enum AdamWCudaKind : int { kStateShift = 2, kCudaAmsgrad = 16, kCudaKinds = 32, kVectors = 32 };

// What the kernels read of a tensor. Made on the host, one copy of all of them each step.
struct AdamWTensor {
  void* pointers[kStep];  // AdamWColumn but the step, which stays on the host
  int64_t size;           // elements
  AdamWCoefficients coefficients;
  int kind;  // kVectors: four elements of each column lie on their own boundary
};

// A block's share: elements [index * kCudaChunk, (index + 1) * kCudaChunk) of a tensor.
struct AdamWChunk {
  int tensor, index;
};

constexpr int64_t kCudaChunk = 16384;

struct AdamWCuda {
  const AdamWTensor* tensors;  // on the device
  const AdamWChunk* chunks;    // (n_chunks,), on the device
  int64_t n_chunks;
  double max_grad_norm;  // 0: no clipping
  bool write_grads;      // leave the clipped gradients behind
  double* square_sums;   // (n_chunks,) scratch with clipping
  float* norm;           // (2,): of all gradients before clipping, and the factor it gave
};

inline int64_t adamw_cuda_chunks(const int64_t* sizes, int64_t n_tensors) {
  int64_t n = 0;
  for (int64_t t = 0; t < n_tensors; ++t) n += (sizes[t] + kCudaChunk - 1) / kCudaChunk;
  return n;
}

// Fill the host's copies. `tensors` also advances each tensor's step.
void adamw_cuda_chunk_table(const int64_t* sizes, int64_t n_tensors, AdamWChunk* chunks);
void adamw_cuda_tensor_table(const AdamW& job, AdamWTensor* tensors);

// One launch for all tensors, and two more before it with clipping. Nothing waits for the host.
void adamw_step_cuda(const AdamWCuda& job, cudaStream_t stream);

}  // namespace groundup
