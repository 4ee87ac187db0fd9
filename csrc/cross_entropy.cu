// Rows to losses and gradients on a CUDA device: coefficients, sums over rows, launches. The sweeps
// over a row are in cross_entropy_rows.cuh, the derivation in docs/cross_entropy.md.
#include "cross_entropy.cuh"
#include "cross_entropy_rows.cuh"

namespace groundup {
namespace {

constexpr int kBlock = 512;          // threads on a long row
constexpr int kWarpsOnRows = 4;      // in a block whose warps have a row each
constexpr int kShortRow = 1024;      // classes
constexpr int kTotalsBlock = 256;    // threads that sum over rows
constexpr int64_t kOneBlock = 4096;  // rows that one block sums over
constexpr int64_t kMostBlocks = INT32_MAX;

__device__ bool is_class(const CrossEntropyCuda& job, int64_t target) {
  return target >= 0 && target < job.n_classes;
}

__device__ double weight_of(const CrossEntropyCuda& job, int64_t target) {
  return job.weight ? static_cast<double>(job.weight[target]) : 1.0;
}

__device__ float* shared_of(const CrossEntropyCuda& job) { return job.statistics + 2 * job.n_rows; }

// Sums over rows ----------------------------------------------------------------------------------

using Totals = CrossEntropyTotals;

__device__ Totals plus(const Totals& a, const Totals& b) {
  return {a.loss + b.loss, a.weight + b.weight, a.live + b.live,
          a.bad_row < b.bad_row ? a.bad_row : b.bad_row};
}

// The block's sum, in thread 0: a tree over the threads' own sums, so no order changes.
__device__ Totals sum_block(Totals own) {
  __shared__ Totals of_thread[kTotalsBlock];
  of_thread[threadIdx.x] = own;
  for (int half = kTotalsBlock / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half)
      of_thread[threadIdx.x] = plus(of_thread[threadIdx.x], of_thread[threadIdx.x + half]);
  }
  return of_thread[0];
}

__device__ double sum_of_weights(const CrossEntropyCuda& job) {
  __shared__ double of_thread[kTotalsBlock];
  double own = 0;
  for (int c = threadIdx.x; c < job.n_classes; c += kTotalsBlock) own += job.weight[c];
  of_thread[threadIdx.x] = own;
  for (int half = kTotalsBlock / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) of_thread[threadIdx.x] += of_thread[threadIdx.x + half];
  }
  return of_thread[0];
}

enum class Source { targets, losses, partials };

__device__ Totals totals_of(const CrossEntropyCuda& job, Source source, int64_t i) {
  if (source == Source::partials) return job.partials[1 + i];
  if (source == Source::losses) return {job.row_loss[i], 0, 0, kNoRow};
  const int64_t target = job.target[i];
  if (target == job.ignore_index) return {0, 0, 0, kNoRow};
  if (!is_class(job, target)) return {0, 0, 1, i};
  return {0, weight_of(job, target), 1, kNoRow};
}

// What the sums over targets are for: the divisors, and the report of a bad target.
__device__ void finish_targets(const CrossEntropyCuda& job, const Totals& totals,
                               double weight_sum) {
  float* const shared = shared_of(job);
  const bool mean = job.reduction == Reduction::mean;
  shared[kDenominator] = mean ? static_cast<float>(totals.weight) : 1.0f;
  shared[kZDivisor] = mean ? static_cast<float>(totals.live) : 1.0f;
  shared[kWeightSum] = static_cast<float>(weight_sum);
  job.partials[0] = totals;
  volatile CrossEntropyFlag* const flag = job.flag;
  if (totals.bad_row == kNoRow || flag->row != 0) return;
  flag->target = job.target[totals.bad_row];
  __threadfence_system();  // the host reads the target once it has seen the row
  flag->row = totals.bad_row + 1;
}

__device__ void finish_losses(const CrossEntropyCuda& job, const Totals& totals) {
  const bool empty = job.reduction == Reduction::mean && job.partials[0].live == 0;
  *job.loss = empty ? CUDART_NAN_F : static_cast<float>(totals.loss);
}

struct TotalsJob {
  CrossEntropyCuda job;
  Source source, first_source;  // what is summed now, and what the partial sums are of
  int64_t n;
};

__global__ void __launch_bounds__(kTotalsBlock) cross_entropy_totals_kernel(const TotalsJob sums) {
  const CrossEntropyCuda& job = sums.job;
  Totals own{0, 0, 0, kNoRow};
  const int64_t step = static_cast<int64_t>(gridDim.x) * kTotalsBlock;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kTotalsBlock + threadIdx.x; i < sums.n;
       i += step)
    own = plus(own, totals_of(job, sums.source, i));
  const Totals totals = sum_block(own);
  if (gridDim.x > 1) {
    if (threadIdx.x == 0) job.partials[1 + blockIdx.x] = totals;
    return;
  }
  const bool of_targets = sums.first_source == Source::targets;
  double weight_sum = job.n_classes;
  if (of_targets && job.weight && job.label_smoothing > 0) weight_sum = sum_of_weights(job);
  if (threadIdx.x != 0) return;
  if (of_targets)
    finish_targets(job, totals, weight_sum);
  else
    finish_losses(job, totals);
}

void sum_rows(const CrossEntropyCuda& job, Source source, cudaStream_t stream) {
  TotalsJob sums{job, source, source, job.n_rows};
  if (job.n_rows > kOneBlock) {
    const int64_t blocks = (job.n_rows + kTotalsBlock - 1) / kTotalsBlock;
    sums.n = blocks < kMostPartials ? blocks : kMostPartials;
    launch(cross_entropy_totals_kernel, sums.n, kTotalsBlock, stream, "cross_entropy: sums of rows",
           TotalsJob{job, source, source, job.n_rows});
    sums.source = Source::partials;
  }
  launch(cross_entropy_totals_kernel, 1, kTotalsBlock, stream, "cross_entropy: sums of rows", sums);
}

// Rows --------------------------------------------------------------------------------------------

// The row's share of the reduced loss: rounded, and divided term by term, as torch does it, so that
// it is inf, or NaN, just where torch's is.
__device__ double loss_of(const CrossEntropyCuda& job, double weight, const Scan& scan,
                          double log_sum, float target_logit) {
  const float* const shared = shared_of(job);
  const double denominator = shared[kDenominator];
  const float nll =
      static_cast<float>(log_sum + (static_cast<double>(scan.largest) - target_logit));
  double loss = weight * nll / denominator;
  if (job.label_smoothing > 0) {
    const float smooth = static_cast<float>(scan.weight * log_sum - scan.smooth);
    loss = (1 - static_cast<double>(job.label_smoothing)) * loss +
           static_cast<double>(job.label_smoothing) / job.n_classes * smooth / denominator;
  }
  if (job.lse_square_scale != 0) {
    const double lse = scan.largest + log_sum;
    loss += job.lse_square_scale * static_cast<float>(lse * lse) / shared[kZDivisor];
  }
  return loss;
}

// dlogit_c = all * p_c - smooth * weight_c - (c is the target) * target. The target's own gradient
// is taken apart from the sweep: p - 1 before any rounding.
__device__ Gradient gradient_of(const CrossEntropyCuda& job, int target, float input, float largest,
                                double log_sum, double dloss) {
  const float* const shared = shared_of(job);
  const double weight = weight_of(job, target), sum = exp(log_sum);
  double of_target = weight * dloss / shared[kDenominator], smooth = 0;
  if (job.label_smoothing > 0) {
    of_target *= 1 - static_cast<double>(job.label_smoothing);
    smooth =
        static_cast<double>(job.label_smoothing) / job.n_classes * dloss / shared[kDenominator];
  }
  double all = of_target + smooth * shared[kWeightSum];
  if (job.lse_square_scale != 0)
    all += 2.0 * job.lse_square_scale * (largest + log_sum) * dloss / shared[kZDivisor];
  double y = input, slope = 1;
  if (job.softcap != 0) {
    y = capped(input, job.softcap);
    const double t = tanhf(input / job.softcap);
    slope = 1 - t * t;
  }
  const double p = exp(y - largest) / sum;
  const double at_target = (of_target * (p - 1) + (all - of_target) * p - smooth * weight) * slope;
  return {largest, static_cast<float>(all / sum), static_cast<float>(smooth),
          static_cast<float>(at_target), target};
}

enum class Pass { forward, backward, inplace };

template <class T, int kGroup, bool kPlain, Pass kPass>
__device__ void work_on_row(const CrossEntropyCuda& job, int64_t row, int lane, Gradient& given) {
  T* const logits = static_cast<T*>(job.logits) + row * job.row_stride;
  T* out = nullptr;
  if constexpr (kPass == Pass::backward)
    out = static_cast<T*>(job.dlogits) + row * job.dlogits_row_stride;
  if constexpr (kPass == Pass::inplace) out = logits;
  const bool none = job.reduction == Reduction::none;

  const int64_t target = job.target[row];
  const bool left_out = target == job.ignore_index;
  if (left_out || !is_class(job, target)) {
    const float value = left_out ? 0.0f : CUDART_NAN_F;
    if constexpr (kPass != Pass::forward) fill<T, kGroup>(out, job.n_classes, lane, value);
    if (kPass != Pass::backward && lane == 0) {
      job.statistics[2 * row] = job.statistics[2 * row + 1] = value;
      if (none)
        job.loss[row] = value;
      else
        job.row_loss[row] = value;
    }
    return;
  }

  const int class_of = static_cast<int>(target);
  float input = 0;
  if (lane == 0) input = to_float(logits[class_of]);
  if constexpr (kPass != Pass::backward) {
    const Scan scan = scan_row<T, kGroup, kPlain>(job, logits, lane);
    if (lane == 0) {
      const double log_sum = log(static_cast<double>(scan.sum));
      job.statistics[2 * row] = scan.largest;
      job.statistics[2 * row + 1] = static_cast<float>(log_sum);
      const double loss = loss_of(job, weight_of(job, target), scan, log_sum,
                                  job.softcap == 0 ? input : capped(input, job.softcap));
      if (none)
        job.loss[row] = static_cast<float>(loss);
      else
        job.row_loss[row] = loss;
      if constexpr (kPass == Pass::inplace)
        given = gradient_of(job, class_of, input, scan.largest, log_sum, 1);
    }
  } else if (lane == 0) {
    given = gradient_of(job, class_of, input, job.statistics[2 * row], job.statistics[2 * row + 1],
                        job.dloss[none ? row : 0]);
  }
  if constexpr (kPass != Pass::forward) {
    sync_group<kGroup>();
    const Gradient gradient = given;
    write_gradient<T, kGroup, kPlain>(job, gradient, logits, out, lane);
    sync_group<kGroup>();  // before the next row's is put there
  }
}

template <int kGroup>
constexpr int kThreadsOf = kGroup == kWarp ? kWarpsOnRows * kWarp : kGroup;

template <class T, int kGroup, bool kPlain, Pass kPass>
__global__ void __launch_bounds__(kThreadsOf<kGroup>)
    cross_entropy_rows_kernel(const CrossEntropyCuda job) {
  constexpr int kGroups = kThreadsOf<kGroup> / kGroup;
  __shared__ Gradient gradients[kGroups];
  const int group = threadIdx.x / kGroup, lane = threadIdx.x % kGroup;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kGroups;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kGroups + group; row < job.n_rows;
       row += step)
    work_on_row<T, kGroup, kPlain, kPass>(job, row, lane, gradients[group]);
}

template <class T, int kGroup, bool kPlain, Pass kPass>
void launch_rows(const CrossEntropyCuda& job, cudaStream_t stream) {
  constexpr int kThreads = kThreadsOf<kGroup>, kGroups = kThreads / kGroup;
  const int64_t blocks = (job.n_rows + kGroups - 1) / kGroups;
  launch(cross_entropy_rows_kernel<T, kGroup, kPlain, kPass>,
         blocks < kMostBlocks ? blocks : kMostBlocks, kThreads, stream,
         kPass == Pass::backward ? "cross_entropy: backward" : "cross_entropy: forward", job);
}

template <class T, Pass kPass>
void launch_rows(const CrossEntropyCuda& job, cudaStream_t stream) {
  const bool is_short = job.n_classes <= kShortRow;
  const bool plain = job.softcap == 0 && job.label_smoothing == 0;
  if (plain)
    is_short ? launch_rows<T, kWarp, true, kPass>(job, stream)
             : launch_rows<T, kBlock, true, kPass>(job, stream);
  else
    is_short ? launch_rows<T, kWarp, false, kPass>(job, stream)
             : launch_rows<T, kBlock, false, kPass>(job, stream);
}

template <Pass kPass>
void launch_rows(const CrossEntropyCuda& job, cudaStream_t stream) {
  if (job.n_rows == 0) return;
  if (job.dtype == Dtype::float32)
    launch_rows<float, kPass>(job, stream);
  else if (job.dtype == Dtype::bfloat16)
    launch_rows<__nv_bfloat16, kPass>(job, stream);
  else
    launch_rows<__half, kPass>(job, stream);
}

// One warp a row.
template <class T>
__global__ void __launch_bounds__(kWarpsOnRows* kWarp)
    cross_entropy_scale_kernel(const CrossEntropyCuda job) {
  const int lane = threadIdx.x % kWarp;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kWarpsOnRows;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarpsOnRows + threadIdx.x / kWarp;
       row < job.n_rows; row += step) {
    const float by = job.dloss[job.reduction == Reduction::none ? row : 0];
    if (by == 1) continue;
    T* const dlogits = static_cast<T*>(job.dlogits) + row * job.dlogits_row_stride;
    for (int c = lane; c < job.n_classes; c += kWarp)
      from_float(to_float(dlogits[c]) * by, dlogits[c]);
  }
}

}  // namespace

void cross_entropy_forward_cuda(const CrossEntropyCuda& job, cudaStream_t stream) {
  sum_rows(job, Source::targets, stream);
  launch_rows<Pass::forward>(job, stream);
  if (job.reduction != Reduction::none) sum_rows(job, Source::losses, stream);
}

void cross_entropy_backward_cuda(const CrossEntropyCuda& job, cudaStream_t stream) {
  launch_rows<Pass::backward>(job, stream);
}

void cross_entropy_inplace_cuda(const CrossEntropyCuda& job, cudaStream_t stream) {
  sum_rows(job, Source::targets, stream);
  launch_rows<Pass::inplace>(job, stream);
  if (job.reduction != Reduction::none) sum_rows(job, Source::losses, stream);
}

void cross_entropy_scale_cuda(const CrossEntropyCuda& job, cudaStream_t stream) {
  if (job.n_rows == 0) return;
  const int64_t needed = (job.n_rows + kWarpsOnRows - 1) / kWarpsOnRows;
  const int64_t blocks = needed < kMostBlocks ? needed : kMostBlocks;
  const auto kernel = job.dtype == Dtype::float32    ? cross_entropy_scale_kernel<float>
                      : job.dtype == Dtype::bfloat16 ? cross_entropy_scale_kernel<__nv_bfloat16>
                                                     : cross_entropy_scale_kernel<__half>;
  launch(kernel, blocks, kWarpsOnRows * kWarp, stream, "cross_entropy: scaling", job);
}

}  // namespace groundup
