#include <cmath>
#include <cstring>

#include "kernels/pack.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/product_case.h"

namespace lightcap::internal::testing {
namespace {

struct ConvShape {
  size_t height, width, channels;
  size_t kernel_height, kernel_width, stride, padding;
  size_t columns;
  size_t first_pixel = 0, pixels = SIZE_MAX;  // SIZE_MAX: to the last
  size_t pixel_gap = 0, row_gap = 0, output_gap = 0;
  EpilogueKind epilogue = {};
  size_t beyond = 0;  // more output columns than the input fills: their windows see zeros
  DataType type = DataType::kF32;  // of the weights

  size_t output_height() const { return (height + 2 * padding - kernel_height) / stride + 1; }
  size_t output_width() const { return (width + 2 * padding - kernel_width) / stride + 1 + beyond; }
  size_t output_pixels() const { return output_height() * output_width(); }
  size_t used_pixels() const { return std::min(pixels, output_pixels() - first_pixel); }
  size_t depth() const { return kernel_height * kernel_width * channels; }
  size_t pixel_stride() const { return channels + pixel_gap; }
  size_t row_stride() const { return width * pixel_stride() + row_gap; }

  std::string name() const {
    const auto text = [](size_t value) { return std::to_string(value); };
    const std::string kernel = kernel_height == kernel_width
                                   ? text(kernel_height)
                                   : text(kernel_height) + "x" + text(kernel_width);
    return text(height) + "x" + text(width) + "x" + text(channels) + " k" + kernel + " s" +
           text(stride) + " p" + text(padding) + " n" + text(columns) + " pixels " +
           text(first_pixel) + "+" + text(used_pixels()) + " gaps " + text(pixel_gap) + "," +
           text(row_gap) + "," + text(output_gap) + (beyond != 0 ? " beyond" : "") +
           epilogue.name() +
           (type == DataType::kF32 ? "" : std::string(" ") + data_type_name(type));
  }
};

class ConvCase : public KernelCase {
 public:
  explicit ConvCase(const ConvShape& shape)
      : shape_(shape),
        random_(shape.depth() + 1000 * shape.columns),
        // The last pixel ends at an unmapped page.
        input_((shape.height - 1) * shape.row_stride() + (shape.width - 1) * shape.pixel_stride() +
               shape.channels),
        weights_(shape.columns, shape.depth(), random_, shape.type),
        output_({shape.output_pixels(), shape.columns, shape.columns + shape.output_gap,
                 shape.first_pixel, shape.used_pixels()},
                shape.epilogue, random_) {
    for (size_t y = 0; y < shape.height; ++y) {
      random_.fill(input_.data() + y * shape.row_stride(), shape.width, shape.channels,
                   shape.pixel_stride());
    }
  }

  void run(const KernelTable& kernels) override { kernels.conv(args(output_.actual())); }
  void run_reference() override { reference::conv(args(output_.expected())); }

  std::string compare() override {
    return output_.compare(shape_.depth(), window_norms(), output_norms(weights_.matrix()));
  }

  double flops() const override {
    return 2.0 * static_cast<double>(shape_.used_pixels() * shape_.depth() * shape_.columns);
  }
  double bytes() const override {
    // The input's share of the pixels computed; halos are not counted.
    return static_cast<double>(weights_.matrix().bytes()) +
           4.0 * static_cast<double>(
                     shape_.used_pixels() *
                     (shape_.stride * shape_.stride * shape_.channels + shape_.columns));
  }

 protected:
  ConvArgs args(float* output) const {
    return {.input = input_.data(),
            .input_row_stride = shape_.row_stride(),
            .input_pixel_stride = shape_.pixel_stride(),
            .height = shape_.height,
            .width = shape_.width,
            .channels = shape_.channels,
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

  // The norm of each output pixel's inputs: the root of a convolution of squares with ones.
  std::vector<double> window_norms() const {
    std::vector<float> squares(input_.data(), input_.data() + input_.size());
    for (float& value : squares) value *= value;
    std::vector<float> ones(panel_elements(1, shape_.depth()), 1.0f);
    std::vector<float> sums(shape_.output_pixels());
    ConvArgs squared = args(sums.data());
    squared.input = squares.data();
    squared.weights = {ones.data(), 1, shape_.depth(), DataType::kF32};
    squared.output_pixel_stride = 1;
    squared.epilogue = {};
    reference::conv(squared);
    std::vector<double> norms(shape_.used_pixels());
    for (size_t i = 0; i < norms.size(); ++i)
      norms[i] = std::sqrt(static_cast<double>(sums[shape_.first_pixel + i])) * (1 + 1e-6);
    return norms;
  }

  ConvShape shape_;
  Random random_;
  GuardedFloats input_;
  RandomWeights weights_;
  ProductOutput output_;
};

// A pixel's result must not depend, bit for bit, on the pixels that are computed with it.
class ConvSplitCase : public ConvCase {
 public:
  using ConvCase::ConvCase;

  void run(const KernelTable& kernels) override {
    difference_.clear();
    const ConvArgs whole = args(output_.actual());
    kernels.conv(whole);
    std::vector<float> pieces(shape_.output_pixels() * whole.output_pixel_stride);
    for (size_t pixels = 1; pixels <= 25; ++pixels) {
      ConvArgs piece = whole;
      piece.output = pieces.data();
      for (size_t pixel = 0; pixel < whole.pixels; pixel += pixels) {
        piece.first_pixel = pixel;
        piece.pixels = std::min(pixels, whole.pixels - pixel);
        kernels.conv(piece);
      }
      if (std::memcmp(whole.output, pieces.data(), pieces.size() * sizeof(float)) != 0)
        difference_ = std::to_string(pixels) + " pixels at a time have other bits";
      std::fill(pieces.begin(), pieces.end(), 0.0f);
    }
  }

  std::string compare() override {
    const std::string difference = ConvCase::compare();
    return difference_.empty() ? difference : difference_;
  }

 private:
  std::string difference_;
};

template <class Case>
CaseFactory factory(const ConvShape& shape, bool model_shape, const std::string& prefix = "") {
  return {prefix + shape.name(), model_shape, [shape] { return std::make_unique<Case>(shape); }};
}

// Kernels, strides and paddings of every kind, windows that lie outside entirely among them.
void add_small_shapes(std::vector<CaseFactory>& cases) {
  constexpr size_t kChannels[] = {1, 2, 3, 5, 8, 17};
  constexpr size_t kColumns[] = {1, 15, 16, 17, 32, 33, 50, 64};
  Random random(7);
  const auto pick = [&](size_t count) { return static_cast<size_t>(random.bits()) % count; };
  size_t i = 0;
  for (size_t kernel_height = 1; kernel_height <= 6; ++kernel_height) {
    for (size_t kernel_width = 1; kernel_width <= 6; ++kernel_width) {
      for (size_t stride = 1; stride <= 3; ++stride) {
        for (size_t padding = 0; padding <= 4; ++padding, ++i) {
          ConvShape shape = {};
          shape.height = pick(9) + (kernel_height > 2 * padding ? kernel_height - 2 * padding : 1);
          shape.width = pick(9) + (kernel_width > 2 * padding ? kernel_width - 2 * padding : 1);
          shape.channels = kChannels[pick(6)];
          shape.kernel_height = kernel_height;
          shape.kernel_width = kernel_width;
          shape.stride = stride;
          shape.padding = padding;
          shape.columns = kColumns[pick(8)];
          shape.beyond = pick(8) == 0 ? pick(3) : 0;
          shape.pixel_gap = pick(2) * pick(4);
          shape.row_gap = pick(2) * pick(4);
          shape.output_gap = pick(2) * pick(4);
          shape.epilogue = EpilogueKind::nth(i % EpilogueKind::kCount);
          if (i % 4 == 1) shape.type = i % 8 == 1 ? DataType::kF16 : DataType::kBf16;
          if (pick(2) == 0) {
            shape.first_pixel = pick(shape.output_pixels());
            shape.pixels = pick(shape.output_pixels() - shape.first_pixel + 1);
          }
          cases.push_back(factory<ConvCase>(shape, false));
        }
      }
    }
  }
}

// The graph's own convolutions in tasks of 96 pixels: an encoder at 224 x 224, a detector at 480 x
// 640. The stems' inputs come with their padding in place.
void add_model_shapes(std::vector<CaseFactory>& cases) {
  constexpr EpilogueKind kRelu = {.activation = Activation::kRelu};
  constexpr EpilogueKind kSilu = {.activation = Activation::kSilu};
  constexpr EpilogueKind kBottleneck = {.residual = Residual::kAfter,
                                        .activation = Activation::kSilu};
  struct Layer {
    size_t height, width, channels, kernel, stride, padding, columns;
    EpilogueKind epilogue;
  };
  const Layer layers[] = {
      {226, 226, 3, 3, 2, 0, 32, kRelu},        {112, 112, 32, 3, 1, 1, 64, kRelu},
      {56, 56, 64, 3, 1, 1, 64, kRelu},         {28, 28, 128, 3, 1, 1, 128, kRelu},
      {14, 14, 256, 3, 1, 1, 256, kRelu},       {7, 7, 512, 3, 1, 1, 512, kRelu},
      {484, 644, 3, 6, 2, 0, 16, kSilu},        {240, 320, 16, 3, 2, 1, 32, kSilu},
      {120, 160, 16, 3, 1, 1, 16, kBottleneck}, {120, 160, 32, 3, 2, 1, 64, kSilu},
      {60, 80, 32, 3, 1, 1, 32, kBottleneck},   {30, 40, 64, 3, 1, 1, 64, kBottleneck},
      {30, 40, 128, 3, 2, 1, 256, kSilu},       {15, 20, 128, 3, 1, 1, 128, kBottleneck},
  };
  for (const Layer& layer : layers) {
    ConvShape shape = {};
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
    cases.push_back(factory<ConvCase>(shape, true));
  }
}

}  // namespace

std::vector<CaseFactory> conv_cases() {
  std::vector<CaseFactory> cases;
  add_small_shapes(cases);
  // Channels around the length of a segment of zeros, with padding, which reads them.
  for (const size_t channels : {255u, 256u, 257u, 600u}) {
    cases.push_back(factory<ConvCase>({.height = 3,
                                       .width = 4,
                                       .channels = channels,
                                       .kernel_height = 3,
                                       .kernel_width = 3,
                                       .stride = 1,
                                       .padding = 1,
                                       .columns = 20},
                                      false));
  }
  for (size_t pixels = 1; pixels <= 25; ++pixels) {
    for (const size_t columns : {7u, 16u, 32u, 41u}) {
      cases.push_back(factory<ConvCase>({.height = 6,
                                         .width = 7,
                                         .channels = 5,
                                         .kernel_height = 3,
                                         .kernel_width = 3,
                                         .stride = 1,
                                         .padding = 1,
                                         .columns = columns,
                                         .first_pixel = pixels % 17,
                                         .pixels = pixels},
                                        false));
    }
  }
  for (size_t kind = 0; kind < EpilogueKind::kCount; ++kind) {
    cases.push_back(factory<ConvCase>({.height = 5,
                                       .width = 6,
                                       .channels = 4,
                                       .kernel_height = 3,
                                       .kernel_width = 3,
                                       .stride = 2,
                                       .padding = 1,
                                       .columns = 45,
                                       .output_gap = kind % 4,
                                       .epilogue = EpilogueKind::nth(kind)},
                                      false));
  }
  for (const size_t padding : {0u, 1u, 2u}) {
    cases.push_back(factory<ConvSplitCase>({.height = 8,
                                            .width = 9,
                                            .channels = 6,
                                            .kernel_height = 3,
                                            .kernel_width = 4,
                                            .stride = 1,
                                            .padding = padding,
                                            .columns = 50},
                                           false, "in pieces, "));
  }
  add_model_shapes(cases);
  return cases;
}

}  // namespace lightcap::internal::testing
