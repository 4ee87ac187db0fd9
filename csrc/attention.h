// Causal attention, forward and backward, in tiles, and the few queries of a decoding step.
// Derivation and data flow: docs/attention.md.
#pragma once

#include <stdint.h>

#include "isa.h"

namespace groundup {

// (B, H, T, width) in elements; the elements of a row are adjacent.
struct Strides {
  int64_t batch, head, row;
};

struct Attention {
  bool is_bfloat16;  // query, key, value, out and their gradients; everything else is float
  int64_t n_batch, n_heads, n_key_heads, n_queries, n_keys, width, value_width;
  const void *query, *key, *value;
  Strides query_strides, key_strides, value_strides;

  // (n_batch,) each, or null. Entry b has the rows [begin[b], end[b]) of its batch; without them
  // all n_queries and n_keys. Packed documents are entries of one batch, whose batch strides are 0.
  const int64_t *query_begin, *query_end, *key_begin, *key_end;

  // Query i stands at key i + offset and sees the keys from `left` before it up to itself.
  int64_t offset;
  bool lower_right;  // instead of offset: an entry's last query stands at its last key
  int64_t left;      // below 0: all the way back
  double scale;
  double softcap;  // scores become softcap * tanh(scores / softcap); 0: as they are
  double dropout_p;
  uint64_t dropout_key[2];  // the mask is a function of this and of (b, h, i, j) alone
  int n_threads;            // at most

  void* out;  // forward writes it, backward reads it
  Strides out_strides;
  // (B, H, T, 2): a row's largest score, and its sum of exp(score - largest). Their logarithm, one
  // number, would be rounded to what is large beside it, and every weight of the row with it.
  // 0 for rows without keys. Null in forward where no backward follows. Strides in floats.
  float* statistics;
  Strides statistics_strides;

  const void* dout;
  Strides dout_strides;
  void *dquery, *dkey, *dvalue;
  Strides dquery_strides, dkey_strides, dvalue_strides;

  // (n_batch + 1,): how many blocks of queries all entries before b come to.
  const int64_t* blocks_before;
  int64_t first_head;  // the number of head 0 in the counters of dropout
  float* space;        // attention_*_space(job) floats, on a 64-byte boundary
};

void attention_blocks_before(const Attention& job, int64_t* blocks_before) noexcept;
int64_t attention_forward_space(const Attention& job) noexcept;
int64_t attention_backward_space(const Attention& job) noexcept;
int64_t attention_decode_space(const Attention& job) noexcept;

#define GROUNDUP_DECLARE(isa)                                 \
  namespace isa {                                             \
  void attention_forward_cpu(const Attention& job) noexcept;  \
  void attention_backward_cpu(const Attention& job) noexcept; \
  void attention_decode_cpu(const Attention& job) noexcept;   \
  }
GROUNDUP_FOR_EACH_ISA(GROUNDUP_DECLARE)
#undef GROUNDUP_DECLARE

}  // namespace groundup
