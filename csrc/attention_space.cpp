#include "attention_space.h"

namespace groundup {

int64_t attention_forward_space(const Attention& job) noexcept {
  return job.n_threads * forward_space_of_thread(job);
}

int64_t attention_backward_space(const Attention& job) noexcept {
  const BackwardUnits units(job);
  return job.n_threads * backward_space_of_thread(job) + units.n_buffers * units.buffer;
}

}  // namespace groundup
