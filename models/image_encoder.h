// CLIP's ModifiedResNet without its attention pooler (paper, "cross-modal modulator" input; Radford
// et al., CLIP). Checkpoint names: image_encoder.*, as OpenAI's visual.*.
#ifndef LIGHTCAP_MODELS_IMAGE_ENCODER_H_
#define LIGHTCAP_MODELS_IMAGE_ENCODER_H_

#include <optional>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/weights.h"

namespace lightcap {

class ImageEncoder {
 public:
  // The stem sees its input with this many zero pixels on every side already there, so that it
  // needs no special case at the border.
  static constexpr size_t kInputPadding = 1;

  explicit ImageEncoder(const Weights& weights);

  // x [S + 2][S + 2][3], normalised, zeros around -> features [G][G][C].
  void forward(const Runtime& runtime, const Tensor& x, const Tensor& features) const;

 private:
  struct Bottleneck {
    Conv conv1, conv2, conv3;
    std::optional<Conv> downsample;  // where the shape changes
    size_t stride;                   // of the average pool before conv3 and downsample
  };
  void block(const Runtime& runtime, const Bottleneck& block, const Tensor& x,
             const Tensor& y) const;

  Conv conv1_, conv2_, conv3_;
  std::vector<std::vector<Bottleneck>> stages_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_IMAGE_ENCODER_H_
