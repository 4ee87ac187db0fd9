// Which weights dropout keeps: Threefry-4x32 with 12 rounds (Salmon et al. 2011, "Parallel random
// numbers: as easy as 1, 2, 3"), a function of a key and a counter, so that backward finds the
// same mask without storing it. Additions, rotations and xor alone: each lane is one query.
#pragma once

#include "attention.h"
#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

struct Words {
  vuint word[4];
};

GROUNDUP_INLINE vuint rotated(vuint x, int by) { return (x << by) | (x >> (32 - by)); }

GROUNDUP_INLINE Words threefry(Words x, const uint32_t (&key)[5]) {
  constexpr int by[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5},
                            {6, 20},  {17, 11}, {25, 10}, {18, 20}};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) x.word[i] += key[i];
#pragma GCC unroll 12
  for (int round = 0; round < 12; ++round) {
    const int other = round % 2 == 0 ? 1 : 3;
    x.word[0] += x.word[other];
    x.word[other] = rotated(x.word[other], by[round % 8][0]) ^ x.word[0];
    x.word[2] += x.word[4 - other];
    x.word[4 - other] = rotated(x.word[4 - other], by[round % 8][1]) ^ x.word[2];
    if (round % 4 == 3) {
      const uint32_t injection = (uint32_t)round / 4 + 1;
#pragma GCC unroll 4
      for (uint32_t i = 0; i < 4; ++i) x.word[i] += key[(injection + i) % 5];
      x.word[3] += injection;
    }
  }
  return x;
}

// The mask of one head. A counter (j / 4, i, head) gives the words of keys j, j + 1, j + 2, j + 3.
class Dropout {
 public:
  Dropout(const Attention& job, int64_t head) : head_((uint64_t)head) {
    const double threshold = __builtin_rint(job.dropout_p * 4294967296.0);
    threshold_ = threshold < 4294967295.0 ? (uint32_t)threshold : 4294967295u;
    kept_factor = (float)(1 / (1 - job.dropout_p));
    key_[4] = 0x1bd11bda;
    for (int i = 0; i < 4; ++i) {
      key_[i] = (uint32_t)(job.dropout_key[i / 2] >> (32 * (i % 2)));
      key_[4] ^= key_[i];
    }
  }

  // All ones where the weight of key j and the query in each lane is kept. `words` and `four` are
  // the caller's, to carry over from one key to the next; four begins at -1.
  inline __attribute__((always_inline)) vint kept(vuint queries, int64_t j, Words& words,
                                                  int64_t& four) const {
    if (j / 4 != four) {
      four = j / 4;
      const vuint zero = {};
      words = threefry(Words{{zero + (uint32_t)four, queries, zero + (uint32_t)head_,
                              zero + (uint32_t)(head_ >> 32)}},
                       key_);
    }
    return (vint)(words.word[j % 4] >= threshold_);
  }

  float kept_factor;  // 1 / (1 - p)

 private:
  uint64_t head_;
  uint32_t threshold_;
  uint32_t key_[5];
};

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
