#ifndef LIGHTCAP_KERNELS_SIMD_ACTIVATION_INL_
#define LIGHTCAP_KERNELS_SIMD_ACTIVATION_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap {
namespace {

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + xsimd::exp(-x)); }

inline Floats gelu(Floats x) { return 0.5f * x * (1.0f + xsimd::erf(x * 0.70710678118654752440f)); }

inline Floats activate_value(Floats x, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return xsimd::max(x, Floats(0.0f));
    case Activation::kSilu:
      return x * sigmoid(x);
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
