#include "bench/integer_layers.h"

#include "kernels/dispatch.h"

namespace lightcap::internal::bench {

bool IntegerLayerProblem::handles(const LayerShape& shape) {
  return (shape.stage == "encoder" || shape.stage == "detector") &&
         LayerProblem::handles(shape.kernel);
}

IntegerLayerProblem::IntegerLayerProblem(const LayerShape& shape)
    : shape_(shape), is_float_(shape.name.starts_with("detector.model.24")) {
  shape_.channels = (shape.channels + kQuad - 1) / kQuad * kQuad;
  depth_ = shape_.kernel_size * shape_.kernel_size * shape_.channels;
  panel_bytes_ = panel_elements(shape_.out, depth_, DataType::kI8);
  copies_ = cold_bytes() / panel_bytes_ + 1;
  const size_t pixels = shape_.height * shape_.width;
  operations_ = 2.0 * static_cast<double>(pixels * depth_ * shape_.out);
  bytes_ = static_cast<double>(panel_bytes_ + shape_.out * 12 +
                               pixels * shape_.stride * shape_.stride * shape_.channels +
                               pixels * shape_.out * (is_float_ ? sizeof(float) : 1));
  allocate();
  compute(best_kernels(), 0);  // plans
  arena_.allocate();
  allocate();
  for (size_t i = 0; i < input_.height * input_.row_stride; ++i)
    input_.data[i] = static_cast<uint8_t>(7 * i);
  for (size_t i = 0; i < panel_bytes_ * copies_; ++i)
    panels_[i] = static_cast<int8_t>(static_cast<int>(13 * i % 127) - 63);
  // A sum is some 100 * sqrt(depth) * 40: bytes come out, and SiLU's argument in units of 1 / 512.
  scales_.assign(shape_.out, shape_.stage == "detector" ? 0.05f : 0.002f);
  sums_.assign(shape_.out, 0);
  bias_.assign(shape_.out, 0);
}

void IntegerLayerProblem::allocate() {
  const auto tensor = [&]<class T>(size_t side_factor, size_t channels, TensorOf<T>& made) {
    made = arena_.tensor<T>(shape_.height * side_factor, shape_.width * side_factor, channels);
  };
  tensor(shape_.stride, shape_.channels, input_);
  is_float_ ? tensor(1, shape_.out, float_output_) : tensor(1, shape_.out, output_);
  panels_ = arena_.elements<int8_t>(panel_bytes_ * copies_);
}

void IntegerLayerProblem::compute(const KernelTable& kernels, size_t copy) {
  const bool is_silu = shape_.stage == "detector" && !is_float_;
  const Conv conv = {.weights = {panels_ + copy * panel_bytes_, shape_.out, depth_, DataType::kI8,
                                 scales_.data(), sums_.data()},
                     .in = shape_.channels,
                     .kernel = shape_.kernel_size,
                     .stride = shape_.stride,
                     .padding = (shape_.kernel_size - shape_.stride + 1) / 2,
                     .quantization = {.bias = bias_.data(),
                                      .output_scale = is_float_ ? 0.0f : 0.05f,
                                      .input_zero = 10,
                                      .output_zero = static_cast<uint8_t>(is_silu ? 10 : 0),
                                      .silu_factor = 640}};
  const Runtime runtime = {kernels, pool_, arena_};
  if (is_float_) return conv2d(runtime, conv, input_, float_output_);
  conv2d(runtime, conv, input_, output_,
         {.activation = is_silu ? Activation::kSilu : Activation::kRelu});
}

void IntegerLayerProblem::run(const KernelTable& kernels) {
  compute(kernels, next_);
  next_ = (next_ + 1) % copies_;
}

}  // namespace lightcap::internal::bench
