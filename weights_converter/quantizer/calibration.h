// Calibration: the engine runs pictures, and what its convolutions write decides the grids.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_CALIBRATION_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_CALIBRATION_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "engine/image/image.h"
#include "models/model.h"
#include "weights_converter/quantizer/activation_grid.h"
#include "weights_converter/quantizer/compensation.h"
#include "weights_converter/quantizer/data_flow.h"

namespace lightcap::internal {

// Some pictures, one in memory at a time.
struct PictureSet {
  size_t count = 0;
  std::function<Image(size_t index)> read;  // may throw Error(kInput)
};

struct Calibration {
  DataFlow flow;
  std::vector<ActivationGrid> grids;  // by the flow's numbers
  // By the flow's convolutions; empty for those that are rounded as they are.
  std::vector<InputMoments> moments;
};

// Called now and then with how much of the work is done.
using CalibrationProgress = std::function<void(size_t done, size_t total)>;

// How values flow through the detector and the image encoder of a float model.
DataFlow trace_flow(const std::shared_ptr<const Model>& model, int threads);

// The grids for a float model, from at least one picture: the same for any number of threads.
// Throws Error(kModel) where activations are not finite, and what
// reading a picture throws.
Calibration calibrate(const std::shared_ptr<const Model>& model, const PictureSet& pictures,
                      int threads, const CalibrationProgress& progress = {});

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_CALIBRATION_H_
