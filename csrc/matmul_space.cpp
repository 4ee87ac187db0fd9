#include "matmul_blocks.h"

namespace groundup {

int64_t matmul_space(const Matmul& job) noexcept {
  const MatmulBlocks blocks(job);
  return blocks.n_packed_b(job.n_threads) * blocks.packed_b +
         blocks.n_packed_a(job.n_threads) * blocks.packed_a;
}

}  // namespace groundup
