#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_case.h"

namespace lightcap::internal::testing {
namespace {

// A picture [height][width][channels] with gaps between pixels and rows, ending at an unmapped
// page.
struct Picture {
  size_t height, width, channels, pixel_stride, row_stride;

  Picture(size_t h, size_t w, size_t c, size_t pixel_gap, size_t row_gap)
      : height(h),
        width(w),
        channels(c),
        pixel_stride(c + pixel_gap),
        row_stride(w * (c + pixel_gap) + row_gap) {}
  size_t floats() const {
    return (height - 1) * row_stride + (width - 1) * pixel_stride + channels;
  }
  bool holds(size_t i) const {  // whether float i belongs to a pixel and not to a gap
    return i % row_stride < width * pixel_stride && i % row_stride % pixel_stride < channels;
  }
};

GuardedFloats random_picture(const Picture& picture, Random& random) {
  GuardedFloats floats(picture.floats());
  for (size_t y = 0; y < picture.height; ++y) {
    random.fill(floats.data() + y * picture.row_stride, picture.width, picture.channels,
                picture.pixel_stride);
  }
  return floats;
}

// Input and outputs of a kernel that maps pictures. Both kernels start from NaN everywhere, and
// what the reference leaves alone must stay so; values must be within `units` roundings of the
// reference.
class PictureCase : public KernelCase {
 public:
  PictureCase(const Picture& input, const Picture& output, double units)
      : in_(input),
        out_(output),
        units_(units),
        random_(input.floats()),
        input_(random_picture(input, random_)),
        actual_(output.floats()),
        expected_(output.floats()) {}

  std::string compare() override {
    std::string difference;
    for (size_t i = 0; i < actual_.size() && difference.empty(); ++i) {
      const double expected = expected_[i];
      const double allowed = units_ * std::numeric_limits<float>::epsilon() / 2;
      const bool same = std::isnan(expected) ? std::isnan(actual_[i])
                                             : std::fabs(actual_[i] - expected) <= allowed ||
                                                   actual_[i] == expected_[i];
      if (!same || (!out_.holds(i) && !std::isnan(actual_[i]))) {
        difference = "float " + std::to_string(i) + " is " + std::to_string(actual_[i]) +
                     ", expected " + std::to_string(expected);
      }
    }
    // The next kernel has to write its own.
    std::fill_n(actual_.data(), actual_.size(), std::numeric_limits<float>::quiet_NaN());
    return difference;
  }

 protected:
  Picture in_, out_;
  double units_;
  Random random_;
  GuardedFloats input_, actual_, expected_;
};

struct PoolShape {
  size_t height, width, channels, window, stride, padding;
  size_t first_row = 0, rows = SIZE_MAX;  // SIZE_MAX: to the last
  size_t pixel_gap = 0, row_gap = 0;

  size_t output_side(size_t side) const { return (side + 2 * padding - window) / stride + 1; }
  std::string name() const {
    return std::to_string(height) + "x" + std::to_string(width) + "x" + std::to_string(channels) +
           " window " + std::to_string(window) + " s" + std::to_string(stride) + " p" +
           std::to_string(padding) + " from row " + std::to_string(first_row);
  }
};

enum class Pool { kAverage, kMax };

template <Pool pool>
class PoolCase : public PictureCase {
 public:
  explicit PoolCase(const PoolShape& shape)
      : PictureCase(
            {shape.height, shape.width, shape.channels, shape.pixel_gap, shape.row_gap},
            {shape.output_side(shape.height), shape.output_side(shape.width), shape.channels,
             shape.row_gap, shape.pixel_gap},
            // window^2 additions of values up to 1, and the share's and the product's
            // roundings; a maximum is exact.
            pool == Pool::kAverage ? static_cast<double>(shape.window * shape.window) + 4 : 0),
        shape_(shape) {}

  void run(const KernelTable& kernels) override {
    (pool == Pool::kAverage ? kernels.average_pool : kernels.max_pool)(args(actual_.data()));
  }
  void run_reference() override {
    (pool == Pool::kAverage ? reference::average_pool
                            : reference::max_pool)(args(expected_.data()));
  }
  double flops() const override {
    return static_cast<double>(rows() * out_.width * out_.channels * shape_.window * shape_.window);
  }
  double bytes() const override {
    return 4.0 *
           static_cast<double>(rows() * (shape_.stride * in_.width + out_.width) * in_.channels);
  }

 private:
  size_t rows() const { return std::min(shape_.rows, out_.height - shape_.first_row); }
  PoolArgs args(float* output) const {
    return {.input = input_.data(),
            .input_row_stride = in_.row_stride,
            .input_pixel_stride = in_.pixel_stride,
            .height = in_.height,
            .width = in_.width,
            .channels = in_.channels,
            .window = shape_.window,
            .stride = shape_.stride,
            .padding = shape_.padding,
            .output = output,
            .output_row_stride = out_.row_stride,
            .output_pixel_stride = out_.pixel_stride,
            .output_width = out_.width,
            .first_row = shape_.first_row,
            .rows = rows()};
  }

  PoolShape shape_;
};

struct UpsampleShape {
  size_t rows, width, channels, pixel_gap = 0, row_gap = 0;
};

class UpsampleCase : public PictureCase {
 public:
  explicit UpsampleCase(const UpsampleShape& shape)
      : PictureCase(
            {shape.rows, shape.width, shape.channels, shape.pixel_gap, shape.row_gap},
            {2 * shape.rows, 2 * shape.width, shape.channels, shape.row_gap, shape.pixel_gap}, 0) {}

  void run(const KernelTable& kernels) override { kernels.upsample(args(actual_.data())); }
  void run_reference() override { reference::upsample(args(expected_.data())); }
  double flops() const override { return 0; }
  double bytes() const override {
    return 4.0 * 5 * static_cast<double>(in_.height * in_.width * in_.channels);
  }

 private:
  UpsampleArgs args(float* output) const {
    return {.input = input_.data(),
            .input_row_stride = in_.row_stride,
            .input_pixel_stride = in_.pixel_stride,
            .rows = in_.height,
            .width = in_.width,
            .channels = in_.channels,
            .output = output,
            .output_row_stride = out_.row_stride,
            .output_pixel_stride = out_.pixel_stride};
  }
};

template <Pool pool>
CaseFactory factory(const PoolShape& shape, bool model_shape = false) {
  return {shape.name(), model_shape, [shape] { return std::make_unique<PoolCase<pool>>(shape); }};
}

}  // namespace

std::vector<CaseFactory> average_pool_cases() {
  std::vector<CaseFactory> cases;
  for (size_t channels = 1; channels <= 33; ++channels) {
    cases.push_back(factory<Pool::kAverage>({.height = 6,
                                             .width = 4,
                                             .channels = channels,
                                             .window = 2,
                                             .stride = 2,
                                             .padding = 0,
                                             .first_row = channels % 3,
                                             .pixel_gap = channels % 4,
                                             .row_gap = channels % 5}));
  }
  for (size_t window = 1; window <= 7; ++window) {
    for (size_t stride = 1; stride <= 3; ++stride) {
      cases.push_back(factory<Pool::kAverage>({.height = 8,
                                               .width = 7,
                                               .channels = 19,
                                               .window = window,
                                               .stride = stride,
                                               .padding = 0,
                                               .rows = stride}));
    }
  }
  // After the encoder's stem and in the first blocks of its stages.
  cases.push_back(factory<Pool::kAverage>({112, 112, 64, 2, 2, 0, 0, 4}, true));
  cases.push_back(factory<Pool::kAverage>({28, 28, 512, 2, 2, 0, 0, 4}, true));
  return cases;
}

std::vector<CaseFactory> max_pool_cases() {
  std::vector<CaseFactory> cases;
  for (size_t channels = 1; channels <= 33; ++channels) {
    cases.push_back(factory<Pool::kMax>({.height = 5,
                                         .width = 4,
                                         .channels = channels,
                                         .window = 5,
                                         .stride = 1,
                                         .padding = 2,
                                         .first_row = channels % 3,
                                         .pixel_gap = channels % 4,
                                         .row_gap = channels % 5}));
  }
  for (size_t window = 1; window <= 7; ++window) {
    for (size_t stride = 1; stride <= 3; ++stride) {
      // A window that saw nothing but padding would be minus infinity: it can't exist, as padding
      // is less than the window.
      for (size_t padding = 0; padding <= window / 2; ++padding) {
        cases.push_back(factory<Pool::kMax>({.height = 8,
                                             .width = 7,
                                             .channels = 19,
                                             .window = window,
                                             .stride = stride,
                                             .padding = padding,
                                             .rows = stride}));
      }
    }
  }
  // SPPF, in a slice of its concatenation.
  cases.push_back(factory<Pool::kMax>({15, 20, 128, 5, 1, 2, 0, SIZE_MAX, 384, 0}, true));
  return cases;
}

std::vector<CaseFactory> upsample_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const UpsampleShape& shape, bool model_shape) {
    const std::string name = std::to_string(shape.rows) + "x" + std::to_string(shape.width) + "x" +
                             std::to_string(shape.channels);
    cases.push_back({name, model_shape, [shape] { return std::make_unique<UpsampleCase>(shape); }});
  };
  for (size_t channels = 1; channels <= 33; ++channels)
    add({channels % 3 + 1, channels % 4 + 1, channels, channels % 5, channels % 6}, false);
  add({15, 20, 128}, true);
  add({30, 40, 64}, true);
  return cases;
}

}  // namespace lightcap::internal::testing
