// A simulation of what rounding does to a model: the float engine over weights that int8 can
// express, with activations rounded to their grids, beside the model as it is.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_SIMULATION_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_SIMULATION_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "weights_converter/quantizer/calibration.h"

namespace lightcap::internal {

// The energy of some numbers and that of what rounding changed in them.
struct SignalAndNoise {
  double signal = 0, noise = 0;

  // Their ratio in decibels; none where nothing was changed, or nothing was seen.
  std::optional<double> decibels() const;
};

struct LayerReport {
  std::string name;  // the checkpoint's module
  // The output when the layer alone is rounded, weights and all, and when all layers are. The
  // latter of linear layers is over pictures whose concepts and words stayed the same: others
  // are not comparable.
  SignalAndNoise alone, all;
};

struct SimulationReport {
  std::vector<LayerReport> layers;  // in the order in which they run first
  SignalAndNoise features;
  size_t pictures = 0;
  size_t boxes = 0, boxes_found = 0;      // those of the floats; found again at an overlap of 0.7
  size_t concepts_changed = 0;            // of the boxes found
  size_t captions_changed = 0;            // of the pictures
  size_t tokens = 0, tokens_changed = 0;  // place by place
};

// Boxes count as found again from this intersection over union on.
inline constexpr float kSameBox = 0.7f;

// Captions each picture with the model and with its double, greedily.
SimulationReport simulate(const std::shared_ptr<const Model>& model, const Calibration& calibration,
                          const PictureSet& pictures, int threads,
                          const std::function<void(size_t done)>& progress = {});

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_SIMULATION_H_
