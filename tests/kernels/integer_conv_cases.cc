#include "kernels/reference/reference.h"
#include "tests/kernels/integer_case.h"

namespace lightcap::internal::testing {
namespace {

struct IntegerConvShape {
  size_t height, width, channels;
  size_t kernel_height, kernel_width, stride, padding;
  size_t columns;
  size_t first_pixel = 0, pixels = SIZE_MAX;  // SIZE_MAX: to the last
  size_t pixel_gap = 0, row_gap = 0, output_gap = 0;
  IntegerEpilogueKind epilogue = {};
  size_t beyond = 0;  // more output columns than the input fills: their windows see zeros

  size_t output_height() const { return (height + 2 * padding - kernel_height) / stride + 1; }
  size_t output_width() const { return (width + 2 * padding - kernel_width) / stride + 1 + beyond; }
  size_t output_pixels() const { return output_height() * output_width(); }
  size_t used_pixels() const { return std::min(pixels, output_pixels() - first_pixel); }
  size_t depth() const { return kernel_height * kernel_width * channels; }
  size_t pixel_stride() const { return channels + pixel_gap; }
  size_t row_stride() const { return width * pixel_stride() + row_gap; }

  std::string name() const {
    const auto text = [](size_t value) { return std::to_string(value); };
    return text(height) + "x" + text(width) + "x" + text(channels) + " k" + text(kernel_height) +
           "x" + text(kernel_width) + " s" + text(stride) + " p" + text(padding) + " n" +
           text(columns) + " pixels " + text(first_pixel) + "+" + text(used_pixels()) + " gaps " +
           text(pixel_gap) + "," + text(row_gap) + "," + text(output_gap) +
           (beyond != 0 ? " beyond" : "") + epilogue.name();
  }
};

class IntegerConvCase : public KernelCase {
 public:
  explicit IntegerConvCase(const IntegerConvShape& shape)
      : shape_(shape),
        random_(shape.depth() + 1000 * shape.columns),
        // The last pixel ends at an unmapped page.
        input_((shape.height - 1) * shape.row_stride() + (shape.width - 1) * shape.pixel_stride() +
               shape.channels),
        input_zero_(static_cast<uint8_t>(random_.bits())),
        weights_(shape.columns, shape.depth(), random_, shape.epilogue.spread),
        output_({shape.output_pixels(), shape.columns, shape.columns + shape.output_gap,
                 shape.first_pixel, shape.used_pixels()},
                shape.epilogue, random_) {
    fill_bytes(random_, input_.data(), input_.size());
  }

  void run(const KernelTable& kernels) override { kernels.integer_conv(args(output_.actual())); }
  void run_reference() override {
    reference::integer_conv(args(output_.expected()));
    output_.forget();
  }
  std::string compare() override { return output_.compare(); }
  bool multiplies_integers() const override { return true; }
  double flops() const override {
    return 2.0 * static_cast<double>(shape_.used_pixels() * shape_.depth() * shape_.columns);
  }
  double bytes() const override {
    // The input's share of the pixels computed; halos are not counted.
    return static_cast<double>(
        weights_.matrix().bytes() +
        shape_.used_pixels() * (shape_.stride * shape_.stride * shape_.channels + shape_.columns));
  }

 private:
  IntegerConvArgs args(const IntegerOutput& output) const {
    return {.input = input_.data(),
            .input_row_stride = shape_.row_stride(),
            .input_pixel_stride = shape_.pixel_stride(),
            .height = shape_.height,
            .width = shape_.width,
            .channels = shape_.channels,
            .input_zero = input_zero_,
            .kernel_height = shape_.kernel_height,
            .kernel_width = shape_.kernel_width,
            .stride = shape_.stride,
            .padding = shape_.padding,
            .weights = weights_.matrix(),
            .output = output,
            .output_pixel_stride = shape_.columns + shape_.output_gap,
            .output_width = shape_.output_width(),
            .first_pixel = shape_.first_pixel,
            .pixels = shape_.used_pixels(),
            .epilogue = output_.epilogue(output)};
  }

  IntegerConvShape shape_;
  Random random_;
  GuardedBytes input_;
  uint8_t input_zero_;
  RandomQuads weights_;
  IntegerProductOutput output_;
};

// Kernels, strides and paddings of every kind, windows that lie outside entirely among them.
void add_small_shapes(std::vector<CaseFactory>& cases) {
  constexpr size_t kChannels[] = {4, 8, 12, 20, 32, 68};
  constexpr size_t kColumns[] = {1, 15, 16, 17, 32, 33, 50, 64};
  Random random(8);
  const auto pick = [&](size_t count) { return static_cast<size_t>(random.bits()) % count; };
  size_t i = 0;
  for (size_t kernel_height = 1; kernel_height <= 6; ++kernel_height) {
    for (size_t kernel_width = 1; kernel_width <= 6; ++kernel_width) {
      for (size_t stride = 1; stride <= 3; ++stride) {
        for (size_t padding = 0; padding <= 4; ++padding, ++i) {
          IntegerConvShape shape = {};
          shape.height = pick(9) + (kernel_height > 2 * padding ? kernel_height - 2 * padding : 1);
          shape.width = pick(9) + (kernel_width > 2 * padding ? kernel_width - 2 * padding : 1);
          shape.channels = kChannels[pick(6)];
          shape.kernel_height = kernel_height;
          shape.kernel_width = kernel_width;
          shape.stride = stride;
          shape.padding = padding;
          shape.columns = kColumns[pick(8)];
          shape.beyond = pick(8) == 0 ? pick(3) : 0;
          shape.pixel_gap = 4 * pick(2) * pick(4);
          shape.row_gap = 4 * pick(2) * pick(4);
          shape.output_gap = pick(2) * pick(4);
          shape.epilogue = IntegerEpilogueKind::nth(i);
          if (pick(2) == 0) {
            shape.first_pixel = pick(shape.output_pixels());
            shape.pixels = pick(shape.output_pixels() - shape.first_pixel + 1);
          }
          cases.push_back(
              {shape.name(), false, [shape] { return std::make_unique<IntegerConvCase>(shape); }});
        }
      }
    }
  }
}

// The 3x3 convolutions of an encoder at 224 x 224 and a detector at 480 x 640, in tasks of 96
// pixels. The stems' inputs come with their padding in place, and a fourth channel.
void add_model_shapes(std::vector<CaseFactory>& cases) {
  constexpr IntegerEpilogueKind kRelu = {.activation = Activation::kRelu};
  constexpr IntegerEpilogueKind kSilu = {.activation = Activation::kSilu, .spread = 2000};
  constexpr IntegerEpilogueKind kBottleneck = {
      .activation = Activation::kSilu, .residual = Residual::kAfter, .spread = 2000};
  struct Layer {
    size_t height, width, channels, kernel, stride, padding, columns;
    IntegerEpilogueKind epilogue;
  };
  const Layer layers[] = {
      {226, 226, 4, 3, 2, 0, 32, kRelu},        {112, 112, 32, 3, 1, 1, 64, kRelu},
      {56, 56, 64, 3, 1, 1, 64, kRelu},         {28, 28, 128, 3, 1, 1, 128, kRelu},
      {14, 14, 256, 3, 1, 1, 256, kRelu},       {7, 7, 512, 3, 1, 1, 512, kRelu},
      {484, 644, 4, 6, 2, 0, 16, kSilu},        {240, 320, 16, 3, 2, 1, 32, kSilu},
      {120, 160, 16, 3, 1, 1, 16, kBottleneck}, {120, 160, 32, 3, 2, 1, 64, kSilu},
      {60, 80, 32, 3, 1, 1, 32, kBottleneck},   {30, 40, 64, 3, 1, 1, 64, kBottleneck},
      {30, 40, 128, 3, 2, 1, 256, kSilu},       {15, 20, 128, 3, 1, 1, 128, kBottleneck},
  };
  for (const Layer& layer : layers) {
    IntegerConvShape shape = {};
    shape.height = layer.height;
    shape.width = layer.width;
    shape.channels = layer.channels;
    shape.kernel_height = shape.kernel_width = layer.kernel;
    shape.stride = layer.stride;
    shape.padding = layer.padding;
    shape.columns = layer.columns;
    shape.epilogue = layer.epilogue;
    // From the middle of the picture, past the end of a row.
    shape.first_pixel = shape.output_pixels() / 2 / 12 * 12;
    shape.pixels = 96;
    cases.push_back(
        {shape.name(), true, [shape] { return std::make_unique<IntegerConvCase>(shape); }});
  }
}

}  // namespace

std::vector<CaseFactory> integer_conv_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const IntegerConvShape& shape) {
    cases.push_back(
        {shape.name(), false, [shape] { return std::make_unique<IntegerConvCase>(shape); }});
  };
  add_small_shapes(cases);
  // Channels around the length of a segment outside the picture, with padding, which reads it.
  for (const size_t channels : {2044u, 2048u, 2052u, 4800u}) {
    add({.height = 3,
         .width = 3,
         .channels = channels,
         .kernel_height = 3,
         .kernel_width = 3,
         .stride = 1,
         .padding = 1,
         .columns = 20});
  }
  for (size_t pixels = 1; pixels <= 25; ++pixels) {
    for (const size_t columns : {7u, 16u, 32u, 41u}) {
      add({.height = 6,
           .width = 7,
           .channels = 8,
           .kernel_height = 3,
           .kernel_width = 3,
           .stride = 1,
           .padding = 1,
           .columns = columns,
           .first_pixel = pixels % 17,
           .pixels = pixels});
    }
  }
  for (size_t kind = 0; kind < IntegerEpilogueKind::kCount; ++kind) {
    add({.height = 5,
         .width = 6,
         .channels = 4,
         .kernel_height = 3,
         .kernel_width = 3,
         .stride = 2,
         .padding = 1,
         .columns = 45,
         .output_gap = kind % 4,
         .epilogue = IntegerEpilogueKind::nth(kind)});
  }
  add_model_shapes(cases);
  return cases;
}

}  // namespace lightcap::internal::testing
