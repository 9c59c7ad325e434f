#include "kernels/reference/reference.h"
#include "tests/kernels/conv_shape.h"
#include "tests/kernels/integer_case.h"

namespace lightcap::internal::testing {
namespace {

using IntegerConvShape = ConvShape<IntegerEpilogueKind>;

class IntegerConvCase : public KernelCase {
 public:
  explicit IntegerConvCase(const IntegerConvShape& shape)
      : shape_(shape),
        random_(shape.depth() + 1000 * shape.columns),
        // The last pixel ends at an unmapped page.
        input_(shape.input_elements()),
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
  double flops() const override { return shape_.flops(); }
  double bytes() const override {
    return static_cast<double>(weights_.matrix().bytes() + shape_.elements_moved());
  }

 private:
  IntegerConvArgs args(const IntegerOutput& output) const {
    IntegerConvArgs args = {};
    shape_.describe(args);
    args.input = input_.data();
    args.input_zero = input_zero_;
    args.weights = weights_.matrix();
    args.output = output;
    args.epilogue = output_.epilogue(output);
    args.next_panels = prefetched_panels(args.weights, args.pixels);
    return args;
  }

  IntegerConvShape shape_;
  Random random_;
  GuardedBytes input_;
  uint8_t input_zero_;
  RandomQuads weights_;
  IntegerProductOutput output_;
};

}  // namespace

std::vector<CaseFactory> integer_conv_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const IntegerConvShape& shape, bool model_shape = false) {
    cases.push_back(
        {shape.name(), model_shape, [shape] { return std::make_unique<IntegerConvCase>(shape); }});
  };
  for_each_small_conv<IntegerEpilogueKind>(
      8, {4, 8, 12, 20, 32, 68}, 4, [&](const IntegerConvShape& shape, size_t) { add(shape); });
  // Channels around the length of a segment outside the picture, with padding, which reads it.
  for_each_3x3_conv<IntegerEpilogueKind>({2044, 2048, 2052, 4800}, 4,
                                         [&](const IntegerConvShape& shape) { add(shape); });
  // The stems' inputs come with a fourth channel.
  for_each_model_conv<IntegerEpilogueKind>(
      4,
      {.relu = {.activation = Activation::kRelu},
       .silu = {.activation = Activation::kSilu, .spread = 2000},
       .bottleneck = {.activation = Activation::kSilu,
                      .residual = Residual::kAfter,
                      .spread = 2000}},
      [&](const IntegerConvShape& shape) { add(shape, true); });
  return cases;
}

}  // namespace lightcap::internal::testing
