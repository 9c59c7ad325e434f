#include "weights_converter/quantizer/grid_search.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "models/lightcap.h"

namespace lightcap::internal {
namespace {

constexpr double kLargestByte = 255;

// The same grid with steps that are `factor` times as large.
ActivationGrid scaled(const ActivationGrid& grid, double factor) {
  ActivationGrid result = grid_of_scale(double{grid.scale} * factor, grid.silu_factor != 0);
  const double below = double{grid.scale} * grid.zero;
  result.zero =
      static_cast<int>(std::min(std::nearbyint(below / double{result.scale}), kLargestByte));
  return result;
}

}  // namespace

// Rounds what writes to one grid. Means of bytes do not occur in the detector.
class GridSearch::RoundingTap final : public ValueTap {
 public:
  RoundingTap(const DataFlow& flow, size_t number, const ActivationGrid& grid)
      : flow_(flow), number_(number), grid_(grid) {}

  void after(const TappedOperation& operation) override {
    if (operation.kind == TappedOperation::Kind::kLinear) return;
    if (flow_.grid_of_operation[operation_++] == number_) round_to_grid(grid_, operation.output);
  }

 private:
  const DataFlow& flow_;
  const size_t number_;
  const ActivationGrid& grid_;
  size_t operation_ = 0;  // the detector's are the first of the flow
};

GridSearch::GridSearch(const Model& model, const DataFlow& flow, int threads)
    : model_(model), flow_(flow), pool_(threads) {}

void GridSearch::add_picture(const Tensor& input) {
  Picture& picture = pictures_.emplace_back();
  picture.pixels.assign(input.data, input.data + input.height * input.row_stride);
  picture.input = input;
}

std::vector<size_t> GridSearch::grids() const {
  std::set<size_t> found;
  for (const ConvFlow& conv : flow_.convs) {
    if (conv.output != kNoGrid && conv.name.starts_with("detector.")) found.insert(conv.output);
  }
  return {found.begin(), found.end()};
}

// Runs the detector, or plans it.
void GridSearch::run(const Picture& picture, ValueTap* tap,
                     const std::function<void(size_t scale, const Tensor& raw)>& use) {
  const Arena::Scope scope(arena_);
  const Runtime runtime = {
      .kernels = choose_kernels(nullptr), .pool = pool_, .arena = arena_, .tap = tap};
  std::array<Tensor, Detector::kScales> raw;
  for (size_t scale = 0; scale < raw.size(); ++scale) {
    const size_t stride = Detector::stride(scale), padding = 2 * Detector::kInputPadding;
    raw[scale] = arena_.tensor((picture.input.height - padding) / stride,
                               (picture.input.width - padding) / stride,
                               model_.detector().outputs_per_cell());
  }
  model_.detector().forward(runtime, picture.input, raw);
  for (size_t scale = 0; scale < raw.size() && !arena_.planning(); ++scale) use(scale, raw[scale]);
}

// Plans all pictures, and keeps what the detector makes of them as it is.
void GridSearch::allocate() {
  for (Picture& picture : pictures_) {
    picture.input.data = picture.pixels.data();
    run(picture, nullptr, {});
  }
  arena_.allocate();
  for (Picture& picture : pictures_) {
    run(picture, nullptr, [&](size_t scale, const Tensor& raw) {
      for (size_t i = 0; i < raw.height * raw.width; ++i) {
        const float* const cell = raw.data + i * raw.pixel_stride;
        picture.raw[scale].insert(picture.raw[scale].end(), cell, cell + raw.channels);
      }
    });
  }
}

// The squared error of the raw outputs where the grid alone is rounded. Anchors count as much as
// they believe to see an object: most see none, and nobody asks what else they say.
double GridSearch::noise(size_t number, const ActivationGrid& grid) {
  constexpr size_t kObject = 4;
  const size_t fields = model_.config().detector.classes + kObject + 1;
  double sum = 0;
  for (const Picture& picture : pictures_) {
    RoundingTap tap(flow_, number, grid);
    run(picture, &tap, [&](size_t scale, const Tensor& raw) {
      const float* expected = picture.raw[scale].data();
      for (size_t i = 0; i < raw.height * raw.width; ++i) {
        const float* found = raw.data + i * raw.pixel_stride;
        for (size_t anchor = 0; anchor < raw.channels / fields; ++anchor) {
          double error = 0;
          for (size_t k = 0; k < fields; ++k) {
            const double difference = double{found[k]} - double{expected[k]};
            error += difference * difference;
          }
          sum += error / (1 + std::exp(-double{expected[kObject]}));
          found += fields, expected += fields;
        }
      }
    });
  }
  return sum;
}

ActivationGrid GridSearch::improved(size_t number, const ActivationGrid& grid) {
  if (pictures_.empty()) return grid;
  if (arena_.planning()) allocate();
  ActivationGrid best = grid;
  double least = noise(number, grid);
  for (const double factor : {0.7, 0.85, 1.2, 1.45, 1.75}) {
    const ActivationGrid other = scaled(grid, factor);
    const double error = noise(number, other);
    if (error < least) least = error, best = other;
  }
  return best;
}

}  // namespace lightcap::internal
