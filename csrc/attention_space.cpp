#include "attention_space.h"

namespace groundup {

void attention_blocks_before(const Attention& job, int64_t* blocks_before) noexcept {
  blocks_before[0] = 0;
  for (int64_t b = 0; b < job.n_batch; ++b)
    blocks_before[b + 1] = blocks_before[b] + live_rows(entry(job, b)).n_blocks();
}

int64_t attention_forward_space(const Attention& job) noexcept {
  return job.n_threads * forward_space_of_thread(job);
}

int64_t attention_backward_space(const Attention& job) noexcept {
  const BackwardUnits units(job);
  return job.n_threads * backward_space_of_thread(job) + units.n_buffers * units.buffer;
}

int64_t attention_decode_space(const Attention& job) noexcept {
  const DecodeSizes sizes(job);
  return job.n_threads * decode_space_of_thread(job) + sizes.n_results(job) * sizes.result;
}

}  // namespace groundup
