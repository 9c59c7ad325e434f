// The int8 model that lightcap-quantize writes; and its double in floats, for simulations.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_INT8_MODEL_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_INT8_MODEL_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "weights_converter/quantizer/calibration.h"
#include "weights_converter/quantizer/layer_quantizer.h"
#include "weights_converter/weights_writer.h"

namespace lightcap::internal {

// Throws Error(kModel), in words, where there cannot be an int8 model of this one, whatever its
// weights: it is one already, or has convolutions whose channels are not multiples of 4.
void check_quantizable(const Weights& model);

// Plan and values of the int8 model; for write_weights. `model` and `calibration` outlive it.
class Int8Model {
 public:
  // `sources` are lines that are added to those of the model.
  Int8Model(const Weights& model, const Calibration& calibration,
            const std::vector<std::string>& sources);

  const WeightsPlan& plan() const { return plan_; }
  // Throws Error(kModel) as LayerQuantizer does.
  void fill(size_t index, const TensorValues& out);

 private:
  void load(const std::string& tensor);

  const Weights& model_;
  const LayerQuantizer layers_;
  WeightsPlan plan_;
  // The layer whose tensors were filled last: a layer's lie side by side.
  std::string module_;
  std::optional<Int8Conv> conv_;
  std::optional<Int8Rows> matrix_;
};

// A float model that computes what the int8 model's weights stand for.
std::shared_ptr<const Model> dequantized(const Weights& model, const LayerQuantizer& layers);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_INT8_MODEL_H_
