#include "weights_converter/fold_batchnorm.h"

#include <cmath>

#include "engine/runtime/error.h"

namespace lightcap::internal {

ScaleAndShift fold(const BatchNorm& batch_norm, const std::string& name) {
  const size_t channels = batch_norm.weight.size();
  ScaleAndShift result{std::vector<double>(channels), std::vector<double>(channels)};
  std::string wrong;
  size_t wrong_count = 0;
  for (size_t i = 0; i < channels; ++i) {
    const double variance = batch_norm.running_var[i];
    result.scale[i] = batch_norm.weight[i] / std::sqrt(variance + batch_norm.eps);
    result.shift[i] = batch_norm.bias[i] - batch_norm.running_mean[i] * result.scale[i];
    if (variance >= 0 && std::isfinite(result.scale[i]) && std::isfinite(result.shift[i])) continue;
    constexpr size_t kShown = 5;
    if (++wrong_count > kShown) continue;
    wrong += (wrong.empty() ? "" : ", ") + std::to_string(i) + " (variance " +
             std::to_string(variance) + ")";
  }
  if (wrong_count > 0) {
    throw Error(ErrorCode::kCheckpoint,
                "the BatchNorm " + name + " cannot be folded: " + std::to_string(wrong_count) +
                    " of " + std::to_string(channels) +
                    " channels have a negative variance or numbers that are not finite: channel " +
                    wrong);
  }
  return result;
}

void scale_outputs(std::span<const double> scale, std::span<float> weights) {
  const size_t depth = weights.size() / scale.size();
  for (size_t i = 0; i < scale.size(); ++i) {
    for (float& weight : weights.subspan(i * depth, depth)) {
      weight = static_cast<float>(weight * scale[i]);
    }
  }
}

}  // namespace lightcap::internal
