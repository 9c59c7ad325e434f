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
  const double taps = static_cast<double>(weights.kernel * weights.kernel);
  const double channels = static_cast<double>(weights.in * weights.out());
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
          .macs = static_cast<double>(output.height * output.width) * taps * channels,
          .bytes = moved_bytes(floats_of(input) + outputs,
                               winograd == nullptr ? weights.weights : winograd->all())};
}

// The work of pooling, upsampling and normalisation, which move data and compute next to nothing.
LayerWork moving_work(std::string_view name, std::string_view kernel, const Tensor& input,
                      const Tensor& output, size_t window, size_t stride) {
  return {.name = name,
          .kernel = kernel,
          .height = output.height,
          .width = output.width,
          .channels = input.channels,
          .kernel_size = window,
          .stride = stride,
          .out = output.channels,
          .bytes = (floats_of(input) + floats_of(output)) * kFloatBytes};
}

// The session's choice for a convolution: null for a direct one. While the session is still to
// choose, the convolution is shown to its plan and counts as direct.
const WinogradWeights* winograd_for(const Runtime& runtime, const Conv& conv, const Tensor& input) {
  if (runtime.convs == nullptr) return nullptr;
  if (!runtime.convs->is_chosen()) runtime.convs->see(conv, input);
  return runtime.convs->winograd(conv);
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
  for_each_tile(
      runtime, grid(runtime, output.height * output.width, weights.weights.depth, weights.out()),
      [&](size_t pixel, size_t pixel_end, size_t column, size_t column_end) {
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
                              .weights = weights.weights.slice(column, column_end - column),
                              .output = output.data + column,
                              .output_pixel_stride = output.pixel_stride,
                              .output_width = output.width,
                              .first_pixel = pixel,
                              .pixels = pixel_end - pixel,
                              .epilogue = shifted(epilogue, 0, column)});
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

namespace {

using PoolKernel = void (*)(const PoolArgs&);

void pool_rows(const Runtime& runtime, PoolKernel kernel, const Tensor& input, size_t window,
               size_t stride, size_t padding, const Tensor& output) {
  runtime.plan_steps(floats_of(output) * static_cast<double>(window * window));
  const size_t row_floats = std::max<size_t>(stride * input.width * input.channels, 1);
  const Split rows =
      split(output.height, 1, output.height * row_floats / (kMovedBytes / sizeof(float)));
  runtime.parallel_for(rows.pieces, [&](size_t task) {
    kernel({.input = input.data,
            .input_row_stride = input.row_stride,
            .input_pixel_stride = input.pixel_stride,
            .height = input.height,
            .width = input.width,
            .channels = input.channels,
            .window = window,
            .stride = stride,
            .padding = padding,
            .output = output.data,
            .output_row_stride = output.row_stride,
            .output_pixel_stride = output.pixel_stride,
            .output_width = output.width,
            .first_row = rows[task].begin,
            .rows = rows[task].count});
  });
}

}  // namespace

void average_pool(const Runtime& runtime, const Tensor& input, size_t window,
                  const Tensor& output) {
  const Observed observed(
      runtime, [&] { return moving_work({}, "average_pool", input, output, window, window); });
  tapped(
      runtime,
      [&] {
        return TappedOperation{TappedOperation::Kind::kAveragePool, input, output};
      },
      [&] { pool_rows(runtime, runtime.kernels.average_pool, input, window, window, 0, output); });
}

void max_pool(const Runtime& runtime, const Tensor& input, size_t window, size_t stride,
              size_t padding, const Tensor& output) {
  const Observed observed(
      runtime, [&] { return moving_work({}, "max_pool", input, output, window, stride); });
  tapped(
      runtime,
      [&] {
        return TappedOperation{TappedOperation::Kind::kMaxPool, input, output};
      },
      [&] {
        pool_rows(runtime, runtime.kernels.max_pool, input, window, stride, padding, output);
      });
}

void upsample2(const Runtime& runtime, const Tensor& input, const Tensor& output) {
  const Observed observed(runtime,
                          [&] { return moving_work({}, "upsample", input, output, 1, 1); });
  runtime.plan_steps(floats_of(output));
  const Split rows =
      split(input.height, 1, input.height * input.row_stride / (kMovedBytes / sizeof(float)));
  const auto run = [&] {
    runtime.parallel_for(rows.pieces, [&](size_t task) {
      const auto [begin, count] = rows[task];
      runtime.kernels.upsample({.input = input.data + begin * input.row_stride,
                                .input_row_stride = input.row_stride,
                                .input_pixel_stride = input.pixel_stride,
                                .rows = count,
                                .width = input.width,
                                .channels = input.channels,
                                .output = output.data + 2 * begin * output.row_stride,
                                .output_row_stride = output.row_stride,
                                .output_pixel_stride = output.pixel_stride});
    });
  };
  tapped(
      runtime,
      [&] {
        return TappedOperation{TappedOperation::Kind::kUpsample, input, output};
      },
      run);
}

void layer_norm(const Runtime& runtime, const LayerNorm& weights, Matrix x, Matrix y) {
  const Observed observed(runtime, [&] {
    return moving_work(weights.name, "layer_norm", {x.data, x.rows, 1, x.columns},
                       {y.data, y.rows, 1, y.columns}, 1, 1);
  });
  constexpr double kPasses = 4;
  runtime.plan_steps(kPasses * static_cast<double>(x.rows * x.columns));
  const Split rows = split(x.rows, 1, x.rows / 24);
  runtime.parallel_for(rows.pieces, [&](size_t task) {
    const auto [begin, count] = rows[task];
    runtime.kernels.layer_norm({.x = x.row(begin),
                                .x_stride = x.stride,
                                .weight = weights.weight,
                                .bias = weights.bias,
                                .eps = weights.eps,
                                .y = y.row(begin),
                                .y_stride = y.stride,
                                .rows = count,
                                .columns = x.columns});
  });
}

}  // namespace lightcap::internal
