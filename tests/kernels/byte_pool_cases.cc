#include "kernels/reference/reference.h"
#include "tests/kernels/integer_case.h"

namespace lightcap::internal::testing {
namespace {

// A picture [height][width][channels] of bytes with gaps between pixels and rows, ending at an
// unmapped page.
struct BytePicture {
  size_t height, width, channels, pixel_stride, row_stride;

  BytePicture(size_t h, size_t w, size_t c, size_t pixel_gap, size_t row_gap)
      : height(h),
        width(w),
        channels(c),
        pixel_stride(c + pixel_gap),
        row_stride(w * (c + pixel_gap) + row_gap) {}
  size_t bytes() const { return (height - 1) * row_stride + (width - 1) * pixel_stride + channels; }
};

// Input and outputs of a kernel that maps pictures. Both kernels start from the same bytes, so what
// the reference leaves alone must stay so.
class BytePictureCase : public KernelCase {
 public:
  BytePictureCase(const BytePicture& input, const BytePicture& output)
      : in_(input),
        out_(output),
        random_(input.bytes()),
        input_(input.bytes()),
        actual_(output.bytes()),
        expected_(output.bytes()),
        before_(output.bytes()) {
    fill_bytes(random_, input_.data(), input_.size());
    for (uint8_t& byte : before_) byte = static_cast<uint8_t>(random_.bits());
    std::copy(before_.begin(), before_.end(), actual_.data());
    std::copy(before_.begin(), before_.end(), expected_.data());
  }

  std::string compare() override {
    std::string difference;
    for (size_t i = 0; i < actual_.size() && difference.empty(); ++i) {
      if (actual_[i] == expected_[i]) continue;
      difference = "byte " + std::to_string(i) + " is " + std::to_string(actual_[i]) +
                   ", expected " + std::to_string(expected_[i]);
    }
    // The next kernel has to write its own.
    std::copy(before_.begin(), before_.end(), actual_.data());
    return difference;
  }

 protected:
  BytePicture in_, out_;
  Random random_;
  GuardedBytes input_, actual_, expected_;
  std::vector<uint8_t> before_;
};

struct BytePoolShape {
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
class BytePoolCase : public BytePictureCase {
 public:
  explicit BytePoolCase(const BytePoolShape& shape)
      : BytePictureCase({shape.height, shape.width, shape.channels, shape.pixel_gap, shape.row_gap},
                        {shape.output_side(shape.height), shape.output_side(shape.width),
                         shape.channels, shape.row_gap, shape.pixel_gap}),
        shape_(shape) {}

  void run(const KernelTable& kernels) override {
    (pool == Pool::kAverage ? kernels.byte_average_pool
                            : kernels.byte_max_pool)(args(actual_.data()));
  }
  void run_reference() override {
    (pool == Pool::kAverage ? reference::byte_average_pool
                            : reference::byte_max_pool)(args(expected_.data()));
  }
  double flops() const override {
    return static_cast<double>(rows() * out_.width * out_.channels * shape_.window * shape_.window);
  }
  double bytes() const override {
    return static_cast<double>(rows() * (shape_.stride * in_.width + out_.width) * in_.channels);
  }

 private:
  size_t rows() const { return std::min(shape_.rows, out_.height - shape_.first_row); }
  BytePoolArgs args(uint8_t* output) const {
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

  BytePoolShape shape_;
};

struct ByteUpsampleShape {
  size_t rows, width, channels, pixel_gap = 0, row_gap = 0;
};

class ByteUpsampleCase : public BytePictureCase {
 public:
  explicit ByteUpsampleCase(const ByteUpsampleShape& shape)
      : BytePictureCase(
            {shape.rows, shape.width, shape.channels, shape.pixel_gap, shape.row_gap},
            {2 * shape.rows, 2 * shape.width, shape.channels, shape.row_gap, shape.pixel_gap}) {}

  void run(const KernelTable& kernels) override { kernels.byte_upsample(args(actual_.data())); }
  void run_reference() override { reference::byte_upsample(args(expected_.data())); }
  double flops() const override { return 0; }
  double bytes() const override {
    return 5 * static_cast<double>(in_.height * in_.width * in_.channels);
  }

 private:
  ByteUpsampleArgs args(uint8_t* output) const {
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
CaseFactory factory(const BytePoolShape& shape, bool model_shape = false) {
  return {shape.name(), model_shape,
          [shape] { return std::make_unique<BytePoolCase<pool>>(shape); }};
}

}  // namespace

std::vector<CaseFactory> byte_average_pool_cases() {
  std::vector<CaseFactory> cases;
  for (size_t channels = 4; channels <= 140; channels += 4) {
    cases.push_back(factory<Pool::kAverage>({.height = 6 + channels / 4 % 2,
                                             .width = 4 + channels / 8 % 2,
                                             .channels = channels,
                                             .window = 2,
                                             .stride = 2,
                                             .padding = 0,
                                             .first_row = channels / 4 % 3,
                                             .pixel_gap = channels % 16,
                                             .row_gap = channels % 20}));
  }
  // After the encoder's stem and in the first blocks of its stages.
  cases.push_back(factory<Pool::kAverage>({112, 112, 64, 2, 2, 0, 0, 4}, true));
  cases.push_back(factory<Pool::kAverage>({28, 28, 512, 2, 2, 0, 0, 4}, true));
  return cases;
}

std::vector<CaseFactory> byte_max_pool_cases() {
  std::vector<CaseFactory> cases;
  for (size_t channels = 4; channels <= 140; channels += 4) {
    cases.push_back(factory<Pool::kMax>({.height = 5,
                                         .width = 4,
                                         .channels = channels,
                                         .window = 5,
                                         .stride = 1,
                                         .padding = 2,
                                         .first_row = channels / 4 % 3,
                                         .pixel_gap = channels % 16,
                                         .row_gap = channels % 20}));
  }
  for (size_t window = 1; window <= 7; ++window) {
    for (size_t stride = 1; stride <= 3; ++stride) {
      for (size_t padding = 0; padding <= window / 2; ++padding) {
        cases.push_back(factory<Pool::kMax>({.height = 8,
                                             .width = 7,
                                             .channels = 76,
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

std::vector<CaseFactory> byte_upsample_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const ByteUpsampleShape& shape, bool model_shape) {
    const std::string name = std::to_string(shape.rows) + "x" + std::to_string(shape.width) + "x" +
                             std::to_string(shape.channels);
    cases.push_back(
        {name, model_shape, [shape] { return std::make_unique<ByteUpsampleCase>(shape); }});
  };
  for (size_t channels = 4; channels <= 140; channels += 4)
    add({channels / 4 % 3 + 1, channels / 4 % 4 + 1, channels, channels % 20, channels % 24},
        false);
  add({15, 20, 128}, true);
  add({30, 40, 64}, true);
  return cases;
}

}  // namespace lightcap::internal::testing
