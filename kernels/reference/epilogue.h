// Weights, activations and epilogues in double, which the reference kernels share.
#ifndef LIGHTCAP_KERNELS_REFERENCE_EPILOGUE_H_
#define LIGHTCAP_KERNELS_REFERENCE_EPILOGUE_H_

#include <cmath>

#include "kernels/kernels.h"

namespace lightcap::internal::reference {

inline double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-x));
  }
  return x;
}

// One element of the output from its sum of products.
inline float finished(double sum, const Epilogue& epilogue, size_t row, size_t column) {
  if (epilogue.bias != nullptr) sum += static_cast<double>(epilogue.bias[column]);
  const double residual =
      epilogue.residual == nullptr
          ? 0.0
          : static_cast<double>(epilogue.residual[row * epilogue.residual_stride + column]);
  return static_cast<float>(epilogue.residual_after
                                ? activated(sum, epilogue.activation) + residual
                                : activated(sum + residual, epilogue.activation));
}

// weights[output][k].
inline double weight_at(const PackedMatrix& weights, size_t output, size_t k) {
  const size_t i = (output / kPanelWidth * weights.depth + k) * kPanelWidth + output % kPanelWidth;
  return static_cast<double>(widened(weights.data, weights.type, i));
}

}  // namespace lightcap::internal::reference

#endif  // LIGHTCAP_KERNELS_REFERENCE_EPILOGUE_H_
