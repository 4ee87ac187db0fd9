// gelu's factor, lane by lane: what gelu and a linear layer that ends in it share.
#pragma once

#include "simd.h"

namespace groundup::GROUNDUP_ISA {
namespace {

// The share and its slope in x.
struct GeluShare {
  vfloat share, slope;
};

template <class T>
GROUNDUP_INLINE GeluShare gelu_exact(vfloat x) {
  const vfloat gaussian = exp_softmax(-0.5f * (x * x));
  constexpr float kInverseRootTwoPi = 0.398942280401432678f;
  if constexpr (sizeof(T) == 2)
    return {normal_cdf_short(x, gaussian), gaussian * kInverseRootTwoPi};
  else
    return {normal_cdf(x, gaussian), gaussian * kInverseRootTwoPi};
}

// (1 + tanh(u)) / 2 = 1 / (1 + e^(-2u)), with u = sqrt(2/pi) (x + 0.044715 x^3).
GROUNDUP_INLINE GeluShare gelu_tanh(vfloat x) {
  constexpr float kTwoRoot = 1.595769121605730711f;  // 2 sqrt(2/pi)
  constexpr float kCubic = 0.044715f;
  const vfloat square = x * x;
  const vfloat twice = (x * kTwoRoot) * (1.0f + kCubic * square);
  const vfloat e = exp_softmax(-abs(twice));
  const vfloat large = 1.0f / (1.0f + e), small = e * large;
  const vint negative = twice < 0.0f;
  const vfloat steepness = kTwoRoot * (1.0f + (3 * kCubic) * square);
  return {select(negative, small, large), (large * small) * steepness};
}

}  // namespace
}  // namespace groundup::GROUNDUP_ISA
