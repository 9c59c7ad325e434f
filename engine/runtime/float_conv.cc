// Convolutions of floats: direct, pointwise or by Winograd's filtering, as the session has chosen.
#include "engine/runtime/ops.h"

#include <algorithm>

#include "engine/runtime/op_tasks.h"
#include "engine/runtime/winograd_conv.h"

namespace lightcap::internal {
namespace {

constexpr double kFloatBytes = sizeof(float);

double floats_of(const Tensor& x) { return static_cast<double>(x.height * x.width * x.channels); }

// Bytes that `floats` activations and the weights move.
double moved_bytes(double floats, const PackedMatrix& weights) {
  const size_t elements = weights.outputs * weights.depth;
  return floats * kFloatBytes + static_cast<double>(elements * data_type_bytes(weights.type));
}

// `written` is the output, or what is pooled from it.
LayerWork conv_work(const Conv& weights, const Tensor& input, const Tensor& output,
                    const Tensor& written, const Fused& fused, const WinogradWeights* winograd) {
  const double direct = static_cast<double>(output.height * output.width) *
                        static_cast<double>(weights.weights.depth * weights.out());
  const double outputs = floats_of(written) * (fused.residual == nullptr ? 1 : 2);
  constexpr const char* kWinograd[2][2] = {{"winograd2", "winograd2+pool"},
                                           {"winograd4", "winograd4+pool"}};
  const bool pooled = written.height != output.height;
  const char* kernel = winograd == nullptr ? "conv" : kWinograd[winograd->tile() == 4][pooled];
  return {.name = weights.name,
          .kernel = kernel,
          .height = output.height,
          .width = output.width,
          .channels = weights.in,
          .kernel_size = weights.kernel,
          .stride = weights.stride,
          .out = weights.out(),
          .macs = winograd == nullptr ? direct : winograd->macs(output.height, output.width),
          .bytes = moved_bytes(floats_of(input) + outputs,
                               winograd == nullptr ? weights.weights : winograd->all())};
}

void convolve(const Runtime& runtime, const Conv& weights, const Tensor& input,
              const Tensor& output, const Fused& fused) {
  if (weights.kernel == 1 && weights.stride == 1 && input.rows_are_dense()) {
    const Linear as_linear = {weights.weights, weights.bias, weights.name};
    multiply(runtime, as_linear, input.pixels(), output.pixels(), fused);
    return;
  }
  const WinogradWeights* winograd = winograd_for(runtime, weights, input);
  const Observed observed(
      runtime, [&] { return conv_work(weights, input, output, output, fused, winograd); });
  runtime.plan_steps(
      product_steps(output.height * output.width, weights.weights.depth, weights.out()));
  const Epilogue epilogue = epilogue_of(weights.bias, fused);
  if (winograd != nullptr) {
    winograd_conv2d(runtime, {weights, *winograd, input, output, epilogue, false});
    return;
  }
  for_each_tile(runtime, grid(runtime, output.height * output.width, weights.weights),
                [&](const TilePart& part) {
                  runtime.kernels.conv({.input = input.data,
                                        .input_row_stride = input.row_stride,
                                        .input_pixel_stride = input.pixel_stride,
                                        .height = input.height,
                                        .width = input.width,
                                        .channels = weights.in,
                                        .kernel_height = weights.kernel,
                                        .kernel_width = weights.kernel,
                                        .stride = weights.stride,
                                        .padding = weights.padding,
                                        .weights = part.weights,
                                        .output = output.data + part.column,
                                        .output_pixel_stride = output.pixel_stride,
                                        .output_width = output.width,
                                        .first_pixel = part.row,
                                        .pixels = part.rows,
                                        .epilogue = shifted(epilogue, 0, part.column),
                                        .next_panels = part.next_panels});
                });
}

}  // namespace

void conv2d(const Runtime& runtime, const Conv& weights, const Tensor& input, const Tensor& output,
            const Fused& fused) {
  tapped(
      runtime,
      [&] {
        return TappedOperation{.kind = TappedOperation::Kind::kConv,
                               .input = input,
                               .output = output,
                               .conv = &weights,
                               .fused = &fused};
      },
      [&] { convolve(runtime, weights, input, output, fused); });
}

void conv2d_pooled(const Runtime& runtime, const Conv& weights, const Tensor& input,
                   const Tensor& whole, const Tensor& pooled, Activation activation) {
  const Fused fused = {.activation = activation};
  const WinogradWeights* winograd = winograd_for(runtime, weights, input);
  if (winograd == nullptr) {
    conv2d(runtime, weights, input, whole, fused);
    average_pool(runtime, whole, 2, pooled);
    return;
  }
  const Observed observed(
      runtime, [&] { return conv_work(weights, input, whole, pooled, fused, winograd); });
  runtime.plan_steps(
      product_steps(whole.height * whole.width, weights.weights.depth, weights.out()));
  winograd_conv2d(runtime,
                  {weights, *winograd, input, pooled, epilogue_of(weights.bias, fused), true});
}

}  // namespace lightcap::internal
