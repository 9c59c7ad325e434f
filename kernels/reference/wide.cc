// Rows of 16-bit integers with a scale, and their products with int8 weights.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/epilogue.h"
#include "kernels/reference/integer.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

namespace {

// The product of row i with output j, before the epilogue.
float wide_product(const uint8_t* planes, const float* scales, const PackedMatrix& weights,
                   size_t i, size_t j) {
  const size_t stride = panel_depth(weights.depth, DataType::kI8);
  const uint8_t* high = planes + 2 * i * stride;
  int32_t h = 0, l = 0;
  for (size_t k = 0; k < weights.depth; ++k) {
    const int32_t weight = integer_weight_at(weights, j, k);
    h += (high[k] - 128) * weight;
    l += (high[stride + k] - 128) * weight;
  }
  const float joined = 256 * static_cast<float>(h) + static_cast<float>(l);
  return joined * weights.scales[j] * scales[i];
}

}  // namespace

void quantize_rows(const QuantizeRowsArgs& args) {
  const size_t depth = panel_depth(args.columns, DataType::kI8);
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    uint8_t* planes = args.planes + 2 * row * depth;
    float largest = 0;
    bool finite = true;
    for (size_t k = 0; k < args.columns; ++k) {
      finite = finite && std::isfinite(x[k]);
      largest = std::max(largest, std::fabs(x[k]));
    }
    const bool zero = largest < kSmallestWide;
    args.scales[row] = !finite ? std::numeric_limits<float>::quiet_NaN()
                       : zero  ? 0
                               : largest / kLargestWide;
    for (size_t k = 0; k < depth; ++k) {
      int64_t v = 0;
      if (k < args.columns && finite && !zero) v = nearest(x[k] * (kLargestWide / largest));
      const int64_t high = (v + 128) >> 8, low = v - 256 * high;
      planes[k] = static_cast<uint8_t>(high + 128);
      planes[depth + k] = static_cast<uint8_t>(low + 128);
    }
  }
}

// The epilogue's additions are rounded one by one; its activation is that of the other references.
void wide_gemm(const WideGemmArgs& args) {
  const Epilogue& epilogue = args.epilogue;
  for (size_t i = 0; i < args.rows; ++i) {
    for (size_t j = 0; j < args.weights.outputs; ++j) {
      float y = wide_product(args.planes, args.scales, args.weights, i, j);
      if (epilogue.bias != nullptr) y += epilogue.bias[j];
      const float residual =
          epilogue.residual == nullptr ? 0.0f : epilogue.residual[i * epilogue.residual_stride + j];
      if (epilogue.residual != nullptr && !epilogue.residual_after) y += residual;
      y = static_cast<float>(activated(static_cast<double>(y), epilogue.activation));
      if (epilogue.residual != nullptr && epilogue.residual_after) y += residual;
      args.c[i * args.c_stride + j] = y;
    }
  }
}

void wide_head_logits(const WideHeadLogitsArgs& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    float* logits = args.logits + row * args.logits_stride;
    const size_t words = args.weights.outputs;
    for (size_t word = 0; word < words; ++word) {
      logits[word] =
          wide_product(args.planes, args.scales, args.weights, row, word) + args.bias[word];
    }
    args.maximum[row] = *std::max_element(logits, logits + words);
    double exp_sum = 0;
    for (size_t word = 0; word < words; ++word) {
      exp_sum +=
          std::exp(static_cast<double>(logits[word]) - static_cast<double>(args.maximum[row]));
    }
    args.exp_sum[row] = static_cast<float>(exp_sum);
  }
}

}  // namespace lightcap::internal::reference
