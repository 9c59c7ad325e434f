// A search among the detector's grids for what its outputs are least sensitive to. The error that a
// grid makes in its own values says little of that: some rare large values decide what is found,
// others nothing.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_GRID_SEARCH_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_GRID_SEARCH_H_

#include <array>
#include <functional>
#include <vector>

#include "models/model.h"
#include "weights_converter/quantizer/activation_grid.h"
#include "weights_converter/quantizer/data_flow.h"

namespace lightcap::internal {

// The detector of a float model, over a few pictures, with one grid rounded at a time.
class GridSearch {
 public:
  // `model` and `flow` outlive it.
  GridSearch(const Model& model, const DataFlow& flow, int threads);
  GridSearch(const GridSearch&) = delete;
  GridSearch& operator=(const GridSearch&) = delete;

  // Keeps a copy of a detector's input.
  void add_picture(const Tensor& input);
  // The grids that the detector writes.
  std::vector<size_t> grids() const;
  // The best of some grids whose steps are finer and coarser than `grid`, which stands under
  // `number` in the flow; `grid` itself where there are no pictures.
  ActivationGrid improved(size_t number, const ActivationGrid& grid);

 private:
  struct Picture {
    std::vector<float> pixels;
    Tensor input;
    std::array<std::vector<float>, Detector::kScales> raw;  // unrounded
  };
  class RoundingTap;

  void allocate();
  void run(const Picture& picture, ValueTap* tap,
           const std::function<void(size_t scale, const Tensor& raw)>& use);
  double noise(size_t number, const ActivationGrid& grid);

  const Model& model_;
  const DataFlow& flow_;
  ThreadPool pool_;
  Arena arena_;
  std::vector<Picture> pictures_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_GRID_SEARCH_H_
