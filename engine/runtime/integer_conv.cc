// Convolutions in integers, of int8 models.
#include "engine/runtime/op_tasks.h"
#include "engine/runtime/winograd_conv.h"

namespace lightcap::internal {
namespace {

template <class T>
double bytes_of(const TensorOf<T>& x) {
  return static_cast<double>(x.height * x.width * x.channels * sizeof(T));
}

template <class T>
LayerWork integer_conv_work(const Conv& conv, const char* kernel, const ByteTensor& input,
                            const TensorOf<T>& output, bool has_residual,
                            const WinogradWeights* winograd) {
  const size_t pixels = output.height * output.width;
  const double residual = has_residual ? static_cast<double>(pixels * output.channels) : 0;
  return {.name = conv.name,
          .kernel = kernel,
          .height = output.height,
          .width = output.width,
          .channels = conv.in,
          .kernel_size = conv.kernel,
          .stride = conv.stride,
          .out = conv.out(),
          .macs = winograd == nullptr
                      ? static_cast<double>(pixels * conv.weights.depth * conv.out())
                      : winograd->macs(output.height, output.width),
          .bytes = bytes_of(input) + bytes_of(output) + residual +
                   static_cast<double>(winograd == nullptr ? conv.weights.depth * conv.out()
                                                           : winograd->bytes()),
          .integer_passes = 1};
}

IntegerEpilogue epilogue_of(const Conv& conv, const ByteFused& fused) {
  const ConvQuantization& quantization = conv.quantization;
  return {.bias = quantization.bias,
          .residual = fused.residual,
          .residual_stride = fused.residual_stride,
          .residual_after = fused.residual_after,
          .residual_scale = quantization.residual_scale,
          .residual_zero = quantization.residual_zero,
          .activation = fused.activation,
          .zero = quantization.output_zero,
          .silu_factor = quantization.silu_factor};
}

// The epilogue for the columns from `column` on and rows from `row` on.
IntegerEpilogue shifted(IntegerEpilogue epilogue, size_t row, size_t column) {
  epilogue.bias += column;
  if (epilogue.residual != nullptr) epilogue.residual += row * epilogue.residual_stride + column;
  return epilogue;
}

IntegerOutput at(uint8_t* bytes) { return {.bytes = bytes}; }
IntegerOutput at(float* floats) { return {.floats = floats}; }

// A product of the input's pixels: a convolution with one tap.
template <class T>
void pointwise(const Runtime& runtime, const Conv& conv, const ByteTensor& input,
               const TensorOf<T>& output, const IntegerEpilogue& epilogue) {
  const MatrixOf<uint8_t> a = input.pixels();
  const MatrixOf<T> c = output.pixels();
  for_each_tile(runtime, grid(runtime, a.rows, conv.weights), [&](const TilePart& part) {
    runtime.kernels.integer_gemm({.a = a.row(part.row),
                                  .a_stride = a.stride,
                                  .weights = part.weights,
                                  .c = at(c.row(part.row) + part.column),
                                  .c_stride = c.stride,
                                  .rows = part.rows,
                                  .epilogue = shifted(epilogue, part.row, part.column),
                                  .next_panels = part.next_panels});
  });
}

template <class T>
void windowed(const Runtime& runtime, const Conv& conv, const ByteTensor& input,
              const TensorOf<T>& output, const IntegerEpilogue& epilogue) {
  const size_t pixels = output.height * output.width;
  for_each_tile(runtime, grid(runtime, pixels, conv.weights), [&](const TilePart& part) {
    runtime.kernels.integer_conv({.input = input.data,
                                  .input_row_stride = input.row_stride,
                                  .input_pixel_stride = input.pixel_stride,
                                  .height = input.height,
                                  .width = input.width,
                                  .channels = conv.in,
                                  .input_zero = conv.quantization.input_zero,
                                  .kernel_height = conv.kernel,
                                  .kernel_width = conv.kernel,
                                  .stride = conv.stride,
                                  .padding = conv.padding,
                                  .weights = part.weights,
                                  .output = at(output.data + part.column),
                                  .output_pixel_stride = output.pixel_stride,
                                  .output_width = output.width,
                                  .first_pixel = part.row,
                                  .pixels = part.rows,
                                  .epilogue = shifted(epilogue, 0, part.column),
                                  .next_panels = part.next_panels});
  });
}

template <class T>
void integer_conv2d(const Runtime& runtime, const Conv& conv, const ByteTensor& input,
                    const TensorOf<T>& output, const ByteFused& fused) {
  const bool is_pointwise = conv.kernel == 1 && conv.stride == 1 && input.rows_are_dense();
  const WinogradWeights* winograd =
      runtime.kernels.prefers_integer_winograd ? winograd_for(runtime, conv, input) : nullptr;
  const char* kernel = is_pointwise          ? "integer_gemm"
                       : winograd == nullptr ? "integer_conv"
                                             : "integer_winograd";
  const Observed observed(runtime, [&] {
    return integer_conv_work(conv, kernel, input, output, fused.residual != nullptr, winograd);
  });
  runtime.plan_steps(product_steps(output.height * output.width, conv.weights.depth, conv.out()));
  const IntegerEpilogue epilogue = epilogue_of(conv, fused);
  if (winograd != nullptr) {
    winograd_conv2d(runtime, IntegerWinogradConv{conv, *winograd, input, at(output.data),
                                                 output.pixel_stride, epilogue});
    return;
  }
  is_pointwise ? pointwise(runtime, conv, input, output, epilogue)
               : windowed(runtime, conv, input, output, epilogue);
}

}  // namespace

void conv2d(const Runtime& runtime, const Conv& weights, const ByteTensor& input,
            const ByteTensor& output, const ByteFused& fused) {
  integer_conv2d(runtime, weights, input, output, fused);
}

void conv2d(const Runtime& runtime, const Conv& weights, const ByteTensor& input,
            const Tensor& output, const ByteFused& fused) {
  integer_conv2d(runtime, weights, input, output, fused);
}

void conv2d_pooled(const Runtime& runtime, const Conv& weights, const ByteTensor& input,
                   const ByteTensor& whole, const ByteTensor& pooled, Activation activation) {
  conv2d(runtime, weights, input, whole, {.activation = activation});
  average_pool(runtime, whole, 2, pooled);
}

}  // namespace lightcap::internal
