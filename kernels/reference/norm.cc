#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

void layer_norm(const LayerNormArgs& args) {
  const auto columns = static_cast<double>(args.columns);
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    double mean = 0, variance = 0;
    for (size_t j = 0; j < args.columns; ++j) mean += static_cast<double>(x[j]) / columns;
    for (size_t j = 0; j < args.columns; ++j) {
      const double deviation = static_cast<double>(x[j]) - mean;
      variance += deviation * deviation / columns;
    }
    const double scale = 1 / std::sqrt(variance + static_cast<double>(args.eps));
    for (size_t j = 0; j < args.columns; ++j) {
      args.y[row * args.y_stride + j] = static_cast<float>(
          (static_cast<double>(x[j]) - mean) * scale * static_cast<double>(args.weight[j]) +
          static_cast<double>(args.bias[j]));
    }
  }
}

void softmax(const SoftmaxArgs& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    const auto top = static_cast<double>(*std::max_element(x, x + args.columns));
    std::vector<double> exponentials(args.columns);
    double sum = 0;
    for (size_t j = 0; j < args.columns; ++j) {
      sum += exponentials[j] = std::exp(static_cast<double>(x[j]) - top);
    }
    for (size_t j = 0; j < args.columns; ++j) {
      args.y[row * args.y_stride + j] = static_cast<float>(exponentials[j] / sum);
    }
  }
}

}  // namespace lightcap::internal::reference
