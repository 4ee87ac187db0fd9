// Rows to losses and gradients: coefficients, reduction and threads. The sweeps over a row are in
// cross_entropy_rows.h, the derivation in docs/cross_entropy.md.
#include "cross_entropy.h"

#include "cross_entropy_rows.h"
#include "parallel.h"

namespace groundup::GROUNDUP_ISA {
namespace {

// Below this many logits a parallel region costs more than it saves.
constexpr int64_t kSerialLogits = 32768;

// A gradient this large is out of the caches before anyone reads it.
constexpr int64_t kStreamBytes = int64_t{32} << 20;

// What all rows share.
struct Plan {
  const CrossEntropy& job;
  Smoothing smoothing;
  Cap cap;
  double weight_sum;   // over classes
  double denominator;  // of the weighted loss
  double live;         // rows not ignored
  double z_divisor;    // of the z-loss: live rows for mean, else 1
  bool stream;         // the gradient goes past the caches
};

struct Row {
  int64_t target;
  double weight;  // of the target's class
};

bool is_class(const CrossEntropy& job, int64_t target) {
  return target >= 0 && target < job.n_classes;
}

int64_t first_bad_target(const CrossEntropy& job) {
  for (int64_t i = 0; i < job.n_rows; ++i)
    if (job.target[i] != job.ignore_index && !is_class(job, job.target[i])) return i;
  return -1;
}

double weight_of(const CrossEntropy& job, int64_t target) {
  return job.weight ? (double)job.weight[target] : 1.0;
}

Plan make_plan(const CrossEntropy& job) {
  Plan plan{job, Smoothing::none, {}, 0, 1, 0, 1, false};
  if (job.label_smoothing > 0)
    plan.smoothing = job.weight ? Smoothing::weighted : Smoothing::uniform;
  if (job.softcap > 0) plan.cap = {(float)job.softcap, (float)(1 / job.softcap)};
  if (plan.smoothing == Smoothing::weighted)
    for (int64_t c = 0; c < job.n_classes; ++c) plan.weight_sum += job.weight[c];
  else
    plan.weight_sum = (double)job.n_classes;

  double target_weights = 0;
  for (int64_t i = 0; i < job.n_rows; ++i) {
    if (job.target[i] == job.ignore_index) continue;
    plan.live += 1;
    if (is_class(job, job.target[i])) target_weights += weight_of(job, job.target[i]);
  }
  if (job.reduction == Reduction::mean) {
    plan.denominator = target_weights;
    plan.z_divisor = plan.live;
  }
  return plan;
}

// The row's share of the reduced loss. Rounded, and divided term by term, as torch does it: so that
// it is inf, or NaN, just where torch's is.
double loss_of(const Plan& plan, const Row& row, const RowStats& stats, double target_logit) {
  const CrossEntropy& job = plan.job;
  const double log_sum = __builtin_log(stats.sum);
  const float nll = (float)(log_sum + (stats.largest - target_logit));
  double loss = row.weight * nll / plan.denominator;
  if (plan.smoothing != Smoothing::none) {
    const float smooth = (float)(plan.weight_sum * log_sum - stats.smooth);
    loss = (1 - job.label_smoothing) * loss +
           job.label_smoothing / (double)job.n_classes * smooth / plan.denominator;
  }
  if (job.lse_square_scale != 0) {
    const double lse = stats.largest + log_sum;
    loss += job.lse_square_scale * (float)(lse * lse) / plan.z_divisor;
  }
  return loss;
}

// dlogit_c = all * p_c - smooth * weight_c - (c is the target) * target, each times dloss.
struct Coefficients {
  double all, target, smooth;
};

Coefficients coefficients_of(const Plan& plan, const Row& row, float largest, double log_sum,
                             double dloss) {
  const CrossEntropy& job = plan.job;
  Coefficients c{row.weight * dloss / plan.denominator, 0, 0};
  if (plan.smoothing != Smoothing::none) {
    c.all *= 1 - job.label_smoothing;
    c.smooth = job.label_smoothing / (double)job.n_classes * dloss / plan.denominator;
  }
  c.target = c.all;
  c.all += c.smooth * plan.weight_sum;
  if (job.lse_square_scale != 0)
    c.all += 2 * job.lse_square_scale * (largest + log_sum) * dloss / plan.z_divisor;
  return c;
}

template <class T>
T* row_of(const void* base, int64_t stride, int64_t row) {
  return (T*)base + row * stride;
}

template <class T>
vfloat splat_one(const T* p) {
  return splat(load(p, First{1})[0]);
}

// The target's own gradient, apart from the sweep: p - 1 is taken before any rounding to T.
template <bool kCapped>
float target_gradient(const Plan& plan, const Row& row, const Coefficients& c, vfloat input,
                      float largest, double sum) {
  const Logit logit = logit_of<kCapped>(input, plan.cap);
  const double p = __builtin_exp((double)logit.value[0] - (double)largest) / sum;
  const double smooth =
      plan.smoothing == Smoothing::none ? 0 : c.smooth * weight_of(plan.job, row.target);
  return (float)((c.target * (p - 1) + (c.all - c.target) * p - smooth) * logit.slope[0]);
}

template <class T>
void fill(T* out, int64_t n, float value) {
  sweep(0, n, head_of(out, n),
        [&](int64_t i, auto lanes, int) { store(out + i, splat(value), lanes); });
}

float* space_for(const CrossEntropy&, float* logits) { return logits; }

// Shifted so that vectors begin on boundaries here where they do in `logits`.
float* space_for(const CrossEntropy& job, bfloat16* logits) {
  float* own = job.space + thread_number() * cross_entropy_space(job.n_classes);
  const int64_t unaligned = head_of(own, kShortRow) - head_of(logits, job.n_classes);
  return own + (unaligned + kLanes) % kLanes;
}

template <class T, Smoothing kSmoothing, bool kCapped>
struct Rows {
  static double forward(const Plan& plan, int64_t i) {
    const CrossEntropy& job = plan.job;
    const T* logits = row_of<T>(job.logits, job.row_stride, i);
    const RowStats stats = scan<T, kSmoothing, kCapped, false>(logits, job.n_classes, job.weight,
                                                               plan.cap, nullptr, nullptr);
    if (job.lse)
      job.lse[2 * i] = stats.largest, job.lse[2 * i + 1] = (float)__builtin_log(stats.sum);
    if (job.target[i] == job.ignore_index) return 0;
    const Row row{job.target[i], weight_of(job, job.target[i])};
    const vfloat input = splat_one(logits + row.target);
    return loss_of(plan, row, stats, logit_of<kCapped>(input, plan.cap).value[0]);
  }

  static double backward(const Plan& plan, int64_t i) {
    const CrossEntropy& job = plan.job;
    const T* logits = row_of<T>(job.logits, job.row_stride, i);
    T* out = row_of<T>(job.dlogits, job.dlogits_row_stride, i);
    const int64_t target = job.target[i];
    if (target == job.ignore_index) return fill(out, job.n_classes, 0), 0;
    // Forward has refused such a target: it was changed since.
    if (!is_class(job, target)) return fill(out, job.n_classes, __builtin_nanf("")), 0;
    const Row row{target, weight_of(job, target)};
    const float largest = job.lse[2 * i];
    const double log_sum = job.lse[2 * i + 1], sum = __builtin_exp(log_sum);
    const double dloss = job.dloss[job.reduction == Reduction::none ? i : 0];
    gradient(plan, row, logits, out, largest, log_sum, sum, dloss);
    return 0;
  }

  static double inplace(const Plan& plan, int64_t i) {
    const CrossEntropy& job = plan.job;
    T* logits = row_of<T>(job.logits, job.row_stride, i);
    const int64_t target = job.target[i];
    if (target == job.ignore_index) {
      if (job.lse) job.lse[2 * i] = job.lse[2 * i + 1] = 0;
      return fill(logits, job.n_classes, 0), 0;
    }
    const Row row{target, weight_of(job, target)};
    const vfloat input = splat_one(logits + target);
    // The exponentials wait for their factor in the row itself, or, where they would lose bits
    // there, in the thread's own space. Not so under a cap, whose slope is needed too.
    constexpr bool kKeep = !kCapped;
    float shifts[kKeep ? kMaxBlocks : 1];
    float* kept = nullptr;
    if constexpr (kKeep) kept = space_for(job, logits);
    const RowStats stats = scan<T, kSmoothing, kCapped, kKeep>(logits, job.n_classes, job.weight,
                                                               plan.cap, kept, shifts);
    const double log_sum = __builtin_log(stats.sum);
    if (job.lse) job.lse[2 * i] = stats.largest, job.lse[2 * i + 1] = (float)log_sum;
    if constexpr (kKeep) {
      const Coefficients c = coefficients_of(plan, row, stats.largest, log_sum, 1);
      scale_kept<T, kSmoothing>(kept, logits, job.n_classes, job.weight, shifts, stats.largest,
                                c.all / stats.sum, (float)c.smooth);
      store(logits + target,
            splat(target_gradient<kCapped>(plan, row, c, input, stats.largest, stats.sum)),
            First{1});
    } else {
      gradient(plan, row, logits, logits, stats.largest, log_sum, stats.sum, 1);
    }
    return loss_of(plan, row, stats, logit_of<kCapped>(input, plan.cap).value[0]);
  }

  static void gradient(const Plan& plan, const Row& row, const T* logits, T* out, float largest,
                       double log_sum, double sum, double dloss) {
    const CrossEntropy& job = plan.job;
    const vfloat input = splat_one(logits + row.target);
    const Coefficients c = coefficients_of(plan, row, largest, log_sum, dloss);
    const auto write = plan.stream ? write_gradient<T, kSmoothing, kCapped, true>
                                   : write_gradient<T, kSmoothing, kCapped, false>;
    write(logits, out, job.n_classes, job.weight, plan.cap, largest, (float)(c.all / sum),
          (float)c.smooth);
    store(out + row.target, splat(target_gradient<kCapped>(plan, row, c, input, largest, sum)),
          First{1});
  }
};

using RowFunction = double (*)(const Plan&, int64_t);
enum class Pass { forward, backward, inplace };

template <class R>
RowFunction of(Pass pass) {
  return pass == Pass::forward ? R::forward : pass == Pass::backward ? R::backward : R::inplace;
}

template <class T, Smoothing kSmoothing>
RowFunction choose(const Plan& plan, Pass pass) {
  return plan.cap.size > 0 ? of<Rows<T, kSmoothing, true>>(pass)
                           : of<Rows<T, kSmoothing, false>>(pass);
}

template <class T>
RowFunction choose(const Plan& plan, Pass pass) {
  switch (plan.smoothing) {
    case Smoothing::uniform:
      return choose<T, Smoothing::uniform>(plan, pass);
    case Smoothing::weighted:
      return choose<T, Smoothing::weighted>(plan, pass);
    default:
      return choose<T, Smoothing::none>(plan, pass);
  }
}

// Rows are independent, and their losses are added in row order afterwards: the result does not
// depend on the number of threads.
void run(const Plan& plan, Pass pass) {
  const CrossEntropy& job = plan.job;
  const RowFunction row =
      job.is_bfloat16 ? choose<bfloat16>(plan, pass) : choose<float>(plan, pass);
  const bool small = job.n_rows * job.n_classes < kSerialLogits;
  const int threads = small ? 1 : job.n_threads;
  // Enough logits per grab to be worth it; few enough that no thread waits long at the end.
  const int64_t grab = 1 + kSerialLogits / job.n_classes;
  (void)threads, (void)grab;  // unused without OpenMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, grab) if (threads > 1)
  for (int64_t i = 0; i < job.n_rows; ++i) {
    const double loss = row(plan, i);
    if (pass == Pass::backward) continue;
    if (job.reduction == Reduction::none)
      job.loss[i] = (float)loss;
    else
      job.row_loss[i] = loss;
  }
  if (pass == Pass::backward) return;
  if (job.denominator) *job.denominator = (float)plan.denominator;
  if (job.reduction == Reduction::none) return;
  double total = 0;
  for (int64_t i = 0; i < job.n_rows; ++i) total += job.row_loss[i];
  if (job.reduction == Reduction::mean && plan.live == 0) total = __builtin_nan("");
  *job.loss = (float)total;
}

}  // namespace

int64_t cross_entropy_forward_cpu(const CrossEntropy& job) noexcept {
  const int64_t bad = first_bad_target(job);
  if (bad < 0) run(make_plan(job), Pass::forward);
  return bad;
}

void cross_entropy_backward_cpu(const CrossEntropy& job) noexcept {
  Plan plan = make_plan(job);
  plan.denominator = *job.denominator;
  const int64_t element = job.is_bfloat16 ? sizeof(bfloat16) : sizeof(float);
  plan.stream = job.n_rows * job.n_classes * element >= kStreamBytes &&
                (uintptr_t)job.dlogits % element == 0 && job.n_classes >= kShortRow;
  run(plan, Pass::backward);
}

int64_t cross_entropy_inplace_cpu(const CrossEntropy& job) noexcept {
  const int64_t bad = first_bad_target(job);
  if (bad < 0) run(make_plan(job), Pass::inplace);
  return bad;
}

}  // namespace groundup::GROUNDUP_ISA
