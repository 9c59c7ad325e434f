// CLIP's ModifiedResNet without its attention pooler (paper, "cross-modal modulator" input; Radford
// et al., CLIP). Checkpoint names: image_encoder.*, as OpenAI's visual.*.
#ifndef LIGHTCAP_MODELS_IMAGE_ENCODER_H_
#define LIGHTCAP_MODELS_IMAGE_ENCODER_H_

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/weights.h"

namespace lightcap::internal {

class ImageEncoder {
 public:
  // The stem sees its input with this many zero pixels on every side already there, so that it
  // needs no special case at the border.
  static constexpr size_t kInputPadding = 1;

  ImageEncoder() = default;
  explicit ImageEncoder(const Weights& weights) { weights.load(*this); }
  void describe(ModuleVisitor& visitor, Config& config);

  // x [S + 2][S + 2][3], normalised, zeros around -> features [G][G][C].
  void forward(const Runtime& runtime, const Tensor& x, const Tensor& features) const;
  // The same in an int8 model: x [S + 2][S + 2][kBytePixel], and integers up to the last sums.
  void forward(const Runtime& runtime, const ByteTensor& x, const Tensor& features) const;

 private:
  struct Bottleneck {
    Conv conv1, conv2, conv3;
    std::optional<Conv> downsample;  // where the shape changes, but for int8 models
    size_t stride;                   // of the average pool before conv3 and downsample
  };
  template <class T>
  void stem(const Runtime& runtime, const TensorOf<T>& x, const TensorOf<T>& whole,
            const TensorOf<T>& y) const;
  void reshape(const Runtime& runtime, const Bottleneck& block, const Tensor& x,
               const Tensor& y) const;
  template <class Y>
  void reshape(const Runtime& runtime, const Bottleneck& block, const ByteTensor& x,
               const ByteTensor& both, const TensorOf<Y>& y) const;
  template <class T, class Y>
  void refine(const Runtime& runtime, const Bottleneck& block, const TensorOf<T>& x,
              const TensorOf<Y>& y) const;

  Conv conv1_, conv2_, conv3_;
  std::vector<std::vector<Bottleneck>> stages_;
};

inline void ImageEncoder::describe(ModuleVisitor& visitor, Config& config) {
  const std::string root = "image_encoder.";
  const double residual_gain = 0.5;  // what is added to a shortcut is kept small
  // ReLU halves the second moment.
  const auto conv = [&](Conv& module, const std::string& name, const std::string& batch_norm,
                        const ConvShape& shape, double gain = std::sqrt(2.0)) {
    visitor.conv(module, root + name, shape, gain, root + batch_norm, 1e-5);
  };
  uint64_t& width = config.image_encoder.width;
  // The first has its padding in the input.
  const uint64_t pixel = config.is_int8() ? kBytePixel : 3;
  conv(conv1_, "conv1", "bn1", {pixel, tells(width, {.divisor = 2, .rank = 1}), 3, 2, 0});
  conv(conv2_, "conv2", "bn2", {width / 2, width / 2, 3, 1, 1});
  conv(conv3_, "conv3", "bn3", {width / 2, tells(width), 3, 1, 1});
  uint64_t in = width;
  stages_.resize(config.image_encoder.blocks.size());
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    const std::string layer = "layer" + std::to_string(stage + 1) + ".";
    const uint64_t planes = width << stage, out = 4 * planes;
    stages_[stage].resize(visitor.list(root + layer, config.image_encoder.blocks[stage]));
    for (size_t i = 0; i < stages_[stage].size(); ++i) {
      Bottleneck& block = stages_[stage][i];
      const std::string name = layer + std::to_string(i) + ".";
      const Dim squeezed = stage == 0 ? tells(width) : planes;
      conv(block.conv1, name + "conv1", name + "bn1", {in, squeezed});
      conv(block.conv2, name + "conv2", name + "bn2", {planes, planes, 3, 1, 1});
      // In integers the shortcut of a block that changes the shape is part of conv3.
      const uint64_t shortcut = config.is_int8() && i == 0 ? in : 0;
      conv(block.conv3, name + "conv3", name + "bn3", {planes + shortcut, out}, residual_gain);
      if (i == 0 && shortcut == 0) {
        conv(block.downsample.emplace(), name + "downsample.0", name + "downsample.1", {in, out});
      }
      block.stride = i == 0 && stage > 0 ? 2 : 1;
      in = out;
    }
  }
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_IMAGE_ENCODER_H_
