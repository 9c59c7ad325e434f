#include <cmath>

#include "kernels/reference/reference.h"
#include "tests/kernels/matrix_case.h"

namespace lightcap::internal::testing {
namespace {

struct RoiShape {
  size_t height, width, channels;
  float x1, y1, x2, y2;
  size_t output_size = 7, sampling_ratio = 2, gap = 0;
};

class RoiAlignCase : public KernelCase {
 public:
  explicit RoiAlignCase(const RoiShape& shape)
      : shape_(shape),
        random_(shape.channels + 100),
        features_(shape.height * shape.width, shape.channels, shape.gap, random_),
        output_(1, shape.channels) {}
  void run(const KernelTable& kernels) override { kernels.roi_align(args(output_.actual)); }
  void run_reference() override { reference::roi_align(args(output_.expected)); }
  // A sample's place is off by some 8 roundings of a coordinate, which moves that share of weight
  // between neighbouring cells, in both directions; then a sum over all cells of features up to 1.
  std::string compare() override {
    const double far = std::max(
        {std::fabs(static_cast<double>(shape_.x1)), std::fabs(static_cast<double>(shape_.x2)),
         std::fabs(static_cast<double>(shape_.y1)), std::fabs(static_cast<double>(shape_.y2))});
    const double place = 8 * kUnit * (far + 1);
    const auto cells = static_cast<double>(shape_.height * shape_.width);
    const auto samples = static_cast<double>(shape_.output_size * shape_.sampling_ratio);
    return output_.compare(
        [=](size_t, size_t) { return 4 * place + kUnit * (cells + 4 * samples + 8); });
  }
  double flops() const override {
    return 2.0 * static_cast<double>(features_.rows * features_.columns);
  }
  double bytes() const override {
    return 4.0 * static_cast<double>(features_.rows * features_.columns);
  }

 private:
  RoiAlignArgs args(GappedMatrix& output) const {
    return {.features = features_.data(),
            .row_stride = shape_.width * features_.stride,
            .pixel_stride = features_.stride,
            .height = shape_.height,
            .width = shape_.width,
            .channels = shape_.channels,
            .x1 = shape_.x1,
            .y1 = shape_.y1,
            .x2 = shape_.x2,
            .y2 = shape_.y2,
            .output_size = shape_.output_size,
            .sampling_ratio = shape_.sampling_ratio,
            .output = output.data()};
  }
  RoiShape shape_;
  Random random_;
  GappedMatrix features_;
  OutputPair output_;
};

}  // namespace

std::vector<CaseFactory> roi_align_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const RoiShape& shape, bool model_shape = false) {
    const std::string name = std::to_string(shape.height) + "x" + std::to_string(shape.width) +
                             "x" + std::to_string(shape.channels) + " box " +
                             std::to_string(shape.x1) + " " + std::to_string(shape.y1) + " " +
                             std::to_string(shape.x2) + " " + std::to_string(shape.y2);
    cases.push_back({name, model_shape, [shape] { return std::make_unique<RoiAlignCase>(shape); }});
  };
  for (size_t channels = 1; channels <= 35; ++channels) {
    add({.height = channels % 5 + 1,
         .width = channels % 7 + 1,
         .channels = channels,
         .x1 = 0.3f,
         .y1 = 0.1f,
         .x2 = 0.9f + static_cast<float>(channels % 4),
         .y2 = 2.7f,
         .gap = channels % 3});
  }
  struct Box {
    float x1, y1, x2, y2;
  };
  // Inside, the whole grid, partly and far outside, empty, and with sides swapped.
  for (const Box& box :
       {Box{1.2f, 2.3f, 4.9f, 3.4f}, Box{0, 0, 7, 7}, Box{-3.3f, -2.1f, 2.7f, 9.3f},
        Box{20.5f, 3, 29.7f, 5}, Box{2.2f, 2.2f, 2.2f, 2.2f}, Box{5.1f, 4.1f, 1.3f, 0.9f},
        Box{-1e6f, -1e6f, 1e6f, 1e6f}}) {
    for (const size_t output_size : {1u, 3u, 7u}) {
      add({.height = 7,
           .width = 7,
           .channels = 40,
           .x1 = box.x1,
           .y1 = box.y1,
           .x2 = box.x2,
           .y2 = box.y2,
           .output_size = output_size,
           .sampling_ratio = output_size % 4 + 1});
    }
  }
  add({.height = 7,
       .width = 7,
       .channels = 2048,
       .x1 = 0.7f,
       .y1 = 1.1f,
       .x2 = 5.3f,
       .y2 = 6.2f,
       .gap = 16},
      true);
  return cases;
}

}  // namespace lightcap::internal::testing
