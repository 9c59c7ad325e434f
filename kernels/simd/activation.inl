#ifndef LIGHTCAP_KERNELS_SIMD_ACTIVATION_INL_
#define LIGHTCAP_KERNELS_SIMD_ACTIVATION_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap {
namespace {

// exp(x) for -87 <= x <= 87, to 1 unit in the last place; beyond, the value at the nearer end: all
// that a sigmoid needs, in two thirds of the operations that a full exp takes.
inline Floats exp_within(Floats x) {
  using Integers = xsimd::as_integer_t<Floats>;
  // In this order NaN passes on x86, where min and max give their second operand.
  x = xsimd::max(Floats(-87.0f), xsimd::min(Floats(87.0f), x));
  // Adding 1.5 * 2^23 rounds to an integer, which stands in the sum's low bits.
  const Floats shifter(12582912.0f);
  const Floats shifted = multiply_add(x, Floats(1.44269504088896341f), shifter);
  const Floats n = shifted - shifter;
  // x - n log 2, with log 2 in two parts, the first short enough that the product is exact.
  Floats r = multiply_add(n, Floats(-0.693359375f), x);
  r = multiply_add(n, Floats(2.12194440e-4f), r);
  // Taylor's series up to r^7 / 7!, |r| <= log 2 / 2: what is left out is below 6e-9.
  Floats sum(1.0f / 5040);
  sum = multiply_add(sum, r, Floats(1.0f / 720));
  sum = multiply_add(sum, r, Floats(1.0f / 120));
  sum = multiply_add(sum, r, Floats(1.0f / 24));
  sum = multiply_add(sum, r, Floats(1.0f / 6));
  sum = multiply_add(sum, r, Floats(0.5f));
  sum = multiply_add(sum, r, Floats(1.0f));
  sum = multiply_add(sum, r, Floats(1.0f));
  const Integers exponent = xsimd::bitwise_cast<Integers>(shifted) << 23;
  return xsimd::bitwise_cast<Floats>(xsimd::bitwise_cast<Integers>(sum) + exponent);
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp_within(-x)); }

inline Floats gelu(Floats x) { return 0.5f * x * (1.0f + xsimd::erf(x * 0.70710678118654752440f)); }

inline Floats activate_value(Floats x, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return xsimd::max(x, Floats(0.0f));
    case Activation::kSilu:
      return x / (1.0f + exp_within(-x));
    case Activation::kGelu:
      return gelu(x);
    case Activation::kSigmoid:
      return sigmoid(x);
  }
  return x;
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_ACTIVATION_INL_
