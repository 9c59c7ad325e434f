#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

void head_logits(const HeadLogitsArgs& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    float* logits = args.logits + row * args.logits_stride;
    for (size_t word = 0; word < args.weights.outputs; ++word) {
      double sum = static_cast<double>(args.bias[word]);
      for (size_t k = 0; k < args.weights.depth; ++k) {
        sum +=
            static_cast<double>(args.z[row * args.z_stride + k]) * weight_at(args.weights, word, k);
      }
      logits[word] = static_cast<float>(sum);
    }
    args.maximum[row] = *std::max_element(logits, logits + args.weights.outputs);
    double sum = 0;
    for (size_t word = 0; word < args.weights.outputs; ++word) {
      sum += std::exp(static_cast<double>(logits[word]) - static_cast<double>(args.maximum[row]));
    }
    args.exp_sum[row] = static_cast<float>(sum);
  }
}

void head_combine(const HeadCombineArgs& args) {
  for (size_t word = 0; word < args.words; ++word) {
    const auto log_probability = [&](size_t branch) {
      return static_cast<double>(args.logits[branch * args.logits_stride + word]) -
             static_cast<double>(args.log_sum_exp[branch]);
    };
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (size_t b = 0; b < args.branches; ++b) top = std::max(top, log_probability(b));
    for (size_t b = 0; b < args.branches; ++b) sum += std::exp(log_probability(b) - top);
    args.y[word] = static_cast<float>(top + std::log(sum / static_cast<double>(args.branches)));
  }
}

}  // namespace lightcap::internal::reference
