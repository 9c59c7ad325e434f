// The integers of each layer, from its weights in floats and the grids of what it reads and writes.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_LAYER_QUANTIZER_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_LAYER_QUANTIZER_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/schema.h"
#include "models/weights.h"
#include "weights_converter/quantizer/calibration.h"
#include "weights_converter/quantizer/weight_rows.h"

namespace lightcap::internal {

// A convolution of the integer graph: that of ModuleVisitor's list (models/schema.h).
struct Int8Conv {
  size_t channels = 0;  // as the integer graph reads them; taps * channels is the depth
  // Its scales are s_w, of the weights with what is folded into them: sums stand for s_in * s_w
  // * sum, where s_in is `input_scale`.
  Int8Rows weights;
  float input_scale = 1;
  std::vector<int32_t> bias;
  std::vector<float> output_scales;  // X.scale
  std::array<float, kConvQuantizationNumbers> numbers = {};

  size_t taps() const { return weights.depth / channels; }
};

// The int8 model of a float one. The integer kernels want channels in multiples of 4: where the
// detector's are others it becomes a little wider, with channels that are 0 and read by nobody.
Config int8_config(const Config& config);

// `model` and `calibration` outlive it.
class LayerQuantizer {
 public:
  LayerQuantizer(const Weights& model, const Calibration& calibration);

  // Both throw Error(kModel) for weights that are not finite, or that integers cannot express.
  Int8Conv conv(const std::string& name) const;
  // A linear layer's X.weight or a matrix that stands alone, by the tensor's name.
  Int8Rows matrix(const std::string& tensor) const;

  // The weights that a convolution of the float graph would have to have to compute what the
  // integers stand for, in the order of the checkpoint; and its bias. A shortcut has those of its
  // own part of the joined product.
  struct FloatConv {
    std::vector<float> weights, bias;
  };
  FloatConv stands_for(const std::string& name) const;

  const ConvFlow* flow_of(const std::string& name) const;

 private:
  // Rows of weights as the integer graph has them, and what bytes are multiplied by beside them.
  struct FoldedRows {
    size_t channels = 0, taps = 0;
    float input_scale = 1;                  // of what is not folded in
    std::vector<std::vector<double>> rows;  // [outputs][taps * channels]
    std::vector<double> bias;               // [outputs]
  };
  FoldedRows rows_of(const ConvFlow& conv) const;
  FoldedRows folded(const ConvFlow& conv) const;
  FoldedRows folded_stem(const ConvFlow& conv) const;
  void fold_shortcut(const ConvFlow& conv, FoldedRows& rows) const;
  std::vector<size_t> channel_places(const ConvFlow& conv) const;
  size_t outputs_of(const std::string& name) const;
  std::vector<float> finite_rows(const std::string& tensor) const;
  std::vector<float> finite_values(const std::string& tensor, size_t count) const;
  float input_scale(const ConvFlow& conv) const;
  void append_output(const std::string& name, std::span<const double> row, double bias,
                     double to_output, int input_zero, const Compensation* compensation,
                     Int8Conv& conv) const;
  std::optional<Compensation> compensation_of(const ConvFlow& conv, const FoldedRows& rows) const;

  const Weights& model_;
  const Calibration& calibration_;
  const std::vector<ActivationGrid>& grids_;
  std::map<std::string, std::vector<uint64_t>> shapes_;  // of the int8 model's tensors
  std::map<std::string, const ConvFlow*> convs_;
  std::map<std::string, const ConvFlow*> joined_;  // by the shortcut's name
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_LAYER_QUANTIZER_H_
