// BatchNorm in inference is a scale and a shift per channel, which the convolution before it can
// take over.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_FOLD_BATCHNORM_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_FOLD_BATCHNORM_H_

#include <span>
#include <string>
#include <vector>

namespace lightcap::internal {

// Under PyTorch's names, one number a channel.
struct BatchNorm {
  std::vector<float> weight, bias, running_mean, running_var;
  double eps = 0;
};

struct ScaleAndShift {
  std::vector<double> scale, shift;
};

// y = scale * x + shift with scale = weight / sqrt(running_var + eps) and
// shift = bias - running_mean * scale, in double. A variance of 0 is PyTorch's: channels that never
// fired have it. Throws Error(kCheckpoint) that lists the channels where the variance is negative
// or anything is not finite. `name` is for messages.
ScaleAndShift fold(const BatchNorm& batch_norm, const std::string& name);

// Multiplies each output's weights, [outputs][depth], by its scale.
void scale_outputs(std::span<const double> scale, std::span<float> weights);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_FOLD_BATCHNORM_H_
