// CUDA's names for a C++ compiler: csrc/*.cu compiled against this folder run on the CPU.
//
// Each thread of a block is a fiber on the one thread of the process; blocks run one after another.
// A fiber runs until it waits at a barrier or shuffles, so what is tested is the kernels'
// arithmetic, indexing and synchronisation points, not races between them: threads that wait at
// different barriers, and lanes missing from a shuffle, end the launch with an error.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <ucontext.h>

#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)
#define CUDART_VERSION 0

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

using cudaStream_t = struct Stream*;
enum cudaError_t {
  cudaSuccess,
  cudaErrorInsufficientDriver,
  cudaErrorNoKernelImageForDevice,
  cudaErrorLaunchFailure
};
inline const char* cudaGetErrorName(cudaError_t) { return "emulated"; }
inline const char* cudaGetErrorString(cudaError_t) {
  return "the threads of a block wait at different barriers";
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* n) { return *n = 1, cudaSuccess; }

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace emulated {

constexpr unsigned kWarpSize = 32;
constexpr size_t kStack = 128 << 10;

struct Barrier {
  unsigned arrived = 0, passed = 0;
};

// A context starts a fiber; from then on jumps switch, which make no system call.
struct Fiber {
  ucontext_t context;
  jmp_buf at;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool begun = false, done = false;
};

struct Block {
  dim3 thread, block, grid, size;
  jmp_buf scheduler;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Barrier> warps;
  std::vector<uint64_t> shuffled;
  Barrier all;
  uint64_t progress = 0;  // barriers passed and fibers ended
  std::function<void()> kernel;
};

inline Block now;

inline void yield() {
  if (_setjmp(now.fibers[now.thread.x]->at) == 0) _longjmp(now.scheduler, 1);
}

inline void wait(Barrier& barrier, unsigned expected) {
  const unsigned before = barrier.passed;
  if (++barrier.arrived == expected) {
    barrier.arrived = 0;
    ++barrier.passed;
    ++now.progress;
    return;
  }
  while (barrier.passed == before) yield();
}

inline void begin() {
  now.kernel();
  now.fibers[now.thread.x]->done = true;
  ++now.progress;
  _longjmp(now.scheduler, 1);
}

inline void resume(unsigned thread) {
  Fiber& fiber = *now.fibers[thread];
  now.thread = dim3(thread, 0, 0);
  if (_setjmp(now.scheduler) != 0) return;
  if (fiber.begun) _longjmp(fiber.at, 1);
  fiber.begun = true;
  setcontext(&fiber.context);
}

inline bool run_block() {
  const unsigned n = now.size.x;
  while (now.fibers.size() < n) now.fibers.push_back(std::make_unique<Fiber>());
  now.warps.assign((n + kWarpSize - 1) / kWarpSize, Barrier{});
  now.shuffled.assign(n, 0);
  now.all = Barrier{};
  for (unsigned t = 0; t < n; ++t) {
    Fiber& fiber = *now.fibers[t];
    fiber.begun = fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, begin, 0);
  }
  for (unsigned running = n; running > 0;) {
    const uint64_t before = now.progress;
    running = 0;
    for (unsigned t = 0; t < n; ++t) {
      if (now.fibers[t]->done) continue;
      resume(t);
      running += !now.fibers[t]->done;
    }
    if (running > 0 && now.progress == before) return false;
  }
  return true;
}

inline unsigned warp_size_of(unsigned thread) {
  const unsigned first = thread / kWarpSize * kWarpSize;
  return now.size.x - first < kWarpSize ? now.size.x - first : kWarpSize;
}

}  // namespace emulated

static dim3& threadIdx = emulated::now.thread;
static dim3& blockIdx = emulated::now.block;
static dim3& gridDim = emulated::now.grid;

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  emulated::Block& now = emulated::now;
  now.grid = config->gridDim;
  now.size = config->blockDim;
  now.kernel = [&] { kernel(arguments...); };
  for (unsigned b = 0; b < config->gridDim.x; ++b) {
    now.block = dim3(b, 0, 0);
    if (!emulated::run_block()) return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

inline void __syncthreads() { emulated::wait(emulated::now.all, emulated::now.size.x); }
inline void __syncwarp() {
  const unsigned t = threadIdx.x;
  emulated::wait(emulated::now.warps[t / emulated::kWarpSize], emulated::warp_size_of(t));
}
inline void __threadfence_system() {}

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  const unsigned t = threadIdx.x;
  std::memcpy(&emulated::now.shuffled[t], &value, sizeof(T));
  __syncwarp();
  T given;
  std::memcpy(&given, &emulated::now.shuffled[t / 32 * 32 + lane % 32], sizeof(T));
  __syncwarp();
  return given;
}
