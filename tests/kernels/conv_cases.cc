#include <cmath>
#include <cstring>

#include "kernels/pack.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/conv_shape.h"
#include "tests/kernels/product_case.h"

namespace lightcap::internal::testing {
namespace {

using FloatConvShape = ConvShape<EpilogueKind>;

class ConvCase : public KernelCase {
 public:
  explicit ConvCase(const FloatConvShape& shape)
      : shape_(shape),
        random_(shape.depth() + 1000 * shape.columns),
        // The last pixel ends at an unmapped page.
        input_(shape.input_elements()),
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

  double flops() const override { return shape_.flops(); }
  double bytes() const override {
    return static_cast<double>(weights_.matrix().bytes() + sizeof(float) * shape_.elements_moved());
  }

 protected:
  ConvArgs args(float* output) const {
    ConvArgs args = {};
    shape_.describe(args);
    args.input = input_.data();
    args.weights = weights_.matrix();
    args.output = output;
    args.epilogue = output_.epilogue(output);
    args.next_panels = prefetched_panels(args.weights, args.pixels);
    return args;
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

  FloatConvShape shape_;
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
CaseFactory factory(const FloatConvShape& shape, bool model_shape, const std::string& prefix = "") {
  return {prefix + shape.name(), model_shape, [shape] { return std::make_unique<Case>(shape); }};
}

}  // namespace

std::vector<CaseFactory> conv_cases() {
  std::vector<CaseFactory> cases;
  for_each_small_conv<EpilogueKind>(7, {1, 2, 3, 5, 8, 17}, 1, [&](FloatConvShape shape, size_t i) {
    if (i % 4 == 1) shape.type = i % 8 == 1 ? DataType::kF16 : DataType::kBf16;
    cases.push_back(factory<ConvCase>(shape, false));
  });
  // Channels around the length of a segment of zeros, with padding, which reads them.
  for_each_3x3_conv<EpilogueKind>({255, 256, 257, 600}, 1, [&](const FloatConvShape& shape) {
    cases.push_back(factory<ConvCase>(shape, false));
  });
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
  for_each_model_conv<EpilogueKind>(
      3,
      {.relu = {.activation = Activation::kRelu},
       .silu = {.activation = Activation::kSilu},
       .bottleneck = {.residual = Residual::kAfter, .activation = Activation::kSilu}},
      [&](const FloatConvShape& shape) { cases.push_back(factory<ConvCase>(shape, true)); });
  return cases;
}

}  // namespace lightcap::internal::testing
