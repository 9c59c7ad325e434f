#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

namespace {

double key_at(const KeyValues& run, size_t key, size_t d) {
  return static_cast<double>(run.keys[d * run.key_stride + key]);
}

double value_at(const KeyValues& run, size_t key, size_t d) {
  return static_cast<double>(run.values[key * run.value_stride + d]);
}

}  // namespace

void attention(const AttentionArgs& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    const size_t visible = args.shared.count + args.own.count + row * args.causal;
    const auto pick = [&](auto at, size_t key, size_t d) {
      return key < args.shared.count ? at(args.shared, key, d)
                                     : at(args.own, key - args.shared.count, d);
    };
    std::vector<double> scores(visible);
    double top = -std::numeric_limits<double>::infinity();
    for (size_t key = 0; key < visible; ++key) {
      for (size_t d = 0; d < args.head_size; ++d) {
        scores[key] +=
            static_cast<double>(args.queries[row * args.query_stride + d]) * pick(key_at, key, d);
      }
      scores[key] *= static_cast<double>(args.scale);
      top = std::max(top, scores[key]);
    }
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - top);
    for (size_t d = 0; d < args.head_size; ++d) {
      double value = 0;
      for (size_t key = 0; key < visible; ++key)
        value += scores[key] / sum * pick(value_at, key, d);
      args.output[row * args.output_stride + d] = static_cast<float>(value);
    }
  }
}

}  // namespace lightcap::internal::reference
