#ifndef LIGHTCAP_KERNELS_SIMD_ACTIVATION_INL_
#define LIGHTCAP_KERNELS_SIMD_ACTIVATION_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// Clamps x to [-limit, limit]. Operands are in this order so that NaN passes: Primitives::min and
// max return their second operand if either is NaN.
inline Floats clamp(Floats x, float limit) {
  return Primitives::max(Floats(-limit), Primitives::min(Floats(limit), x));
}

// exp(-x). The relative error is at most 2 units in the last place plus 1.4e-8 |x|, or 7.3e-8 |x|
// without fused multiply-adds. Far from zero, where the second share is the larger, softmax and
// sigmoid add the result to exp(0), beside which the error does not show. x is clamped to +-87, so
// the result is 1.6e-38 at least.
inline Floats exp_of_minus(Floats x) {
  x = clamp(x, 87.0f);
  // exp(-x) = 2^n 2^-f with n = -x log2(e) rounded: adding 1.5 * 2^23 rounds to an integer, which
  // is then in the low bits of the sum.
  const Floats shifter(12582912.0f);
  const Floats shifted = multiply_add(x, Floats(-1.44269504088896341f), shifter);
  const Floats f = multiply_add(x, Floats(1.44269504088896341f), shifted - shifter);
  // 2^-f for |f| <= 1/2, where the polynomial's largest relative error, 9e-8, is the least that
  // five coefficients after the 1 allow.
  Floats power(-0.001326472731307149f);
  power = multiply_add(power, f, Floats(0.009671512991189957f));
  power = multiply_add(power, f, Floats(-0.05550733581185341f));
  power = multiply_add(power, f, Floats(0.24022242426872253f));
  power = multiply_add(power, f, Floats(-0.6931470036506653f));
  power = multiply_add(power, f, Floats(1.0f));
  return floats_of(bits_of(power) + (bits_of(shifted) << 23));
}

// The divisor of a sigmoid.
inline Floats sigmoid_divisor(Floats x) { return 1.0f + exp_of_minus(x); }

inline Floats sigmoid(Floats x) { return divide(Floats(1.0f), sigmoid_divisor(x)); }

// x/2 + x h(x) with h(x) = erf(x / sqrt 2) / 2. h is odd and, rounded, has reached 1/2 at x = 5.4;
// up to there it is approximated by x p(x^2) / q(x^2), polynomials of degree 5, within 5.5e-9. The
// coefficients are a minimax fit of our own; as all are positive, nothing cancels.
inline Floats gelu(Floats x) {
  const Floats clamped = clamp(x, 5.4f);
  const Floats square = clamped * clamped;
  Floats p(2.3386718679912277e-08f);
  p = multiply_add(p, square, Floats(6.360026927102026e-06f));
  p = multiply_add(p, square, Floats(0.0001643222440088713f));
  p = multiply_add(p, square, Floats(0.004650854551489795f));
  p = multiply_add(p, square, Floats(0.03337227895175779f));
  p = multiply_add(p, square, Floats(0.39894224536480954f));
  Floats q(1.2165910301759194e-06f);
  q = multiply_add(q, square, Floats(7.240037751334582e-05f));
  q = multiply_add(q, square, Floats(0.0018589845902139504f));
  q = multiply_add(q, square, Floats(0.02837871698881631f));
  q = multiply_add(q, square, Floats(0.2503179869310491f));
  q = multiply_add(q, square, Floats(1.0f));
  // Rounding must not carry h past 1/2, or gelu of a large negative x would be positive.
  const Floats h = clamp(divide(clamped * p, q), 0.5f);
  return multiply_add(x, h, 0.5f * x);
}

inline Floats activate_value(Floats x, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return Primitives::max(x, Floats(0.0f));
    case Activation::kSilu:
      return divide(x, sigmoid_divisor(x));
    case Activation::kGelu:
      return gelu(x);
    case Activation::kSigmoid:
      return sigmoid(x);
  }
  return x;
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_ACTIVATION_INL_
