// Pooling, upsampling and normalisation, which move data and compute next to nothing.
#include "engine/runtime/op_tasks.h"

namespace lightcap::internal {
namespace {

template <class T>
double elements_of(const TensorOf<T>& x) {
  return static_cast<double>(x.height * x.width * x.channels);
}

template <class T>
LayerWork moving_work(std::string_view name, std::string_view kernel, const TensorOf<T>& input,
                      const TensorOf<T>& output, size_t window, size_t stride) {
  return {.name = name,
          .kernel = kernel,
          .height = output.height,
          .width = output.width,
          .channels = input.channels,
          .kernel_size = window,
          .stride = stride,
          .out = output.channels,
          .bytes = (elements_of(input) + elements_of(output)) * sizeof(T)};
}

// A tap sees floats alone.
template <class Run>
void under_tap(const Runtime& runtime, TappedOperation::Kind kind, const Tensor& input,
               const Tensor& output, Run&& run) {
  tapped(
      runtime,
      [&] {
        return TappedOperation{kind, input, output};
      },
      run);
}
template <class Run>
void under_tap(const Runtime&, TappedOperation::Kind, const ByteTensor&, const ByteTensor&,
               Run&& run) {
  run();
}

template <class T>
using PoolKernel = void (*)(const PoolArgsOf<T>&);

template <class T>
void pool(const Runtime& runtime, std::string_view name, TappedOperation::Kind kind,
          PoolKernel<T> kernel, const TensorOf<T>& input, size_t window, size_t stride,
          size_t padding, const TensorOf<T>& output) {
  const Observed observed(runtime,
                          [&] { return moving_work({}, name, input, output, window, stride); });
  runtime.plan_steps(elements_of(output) * static_cast<double>(window * window));
  const size_t row_bytes = std::max<size_t>(stride * input.width * input.channels * sizeof(T), 1);
  const Split rows = split(output.height, 1, output.height * row_bytes / kMovedBytes);
  under_tap(runtime, kind, input, output, [&] {
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
  });
}

template <class T>
void upsample(const Runtime& runtime, std::string_view name,
              void (*kernel)(const UpsampleArgsOf<T>&), const TensorOf<T>& input,
              const TensorOf<T>& output) {
  const Observed observed(runtime, [&] { return moving_work({}, name, input, output, 1, 1); });
  runtime.plan_steps(elements_of(output));
  const Split rows =
      split(input.height, 1, input.height * input.row_stride * sizeof(T) / kMovedBytes);
  under_tap(runtime, TappedOperation::Kind::kUpsample, input, output, [&] {
    runtime.parallel_for(rows.pieces, [&](size_t task) {
      const auto [begin, count] = rows[task];
      kernel({.input = input.data + begin * input.row_stride,
              .input_row_stride = input.row_stride,
              .input_pixel_stride = input.pixel_stride,
              .rows = count,
              .width = input.width,
              .channels = input.channels,
              .output = output.data + 2 * begin * output.row_stride,
              .output_row_stride = output.row_stride,
              .output_pixel_stride = output.pixel_stride});
    });
  });
}

}  // namespace

void average_pool(const Runtime& runtime, const Tensor& input, size_t window,
                  const Tensor& output) {
  pool(runtime, "average_pool", TappedOperation::Kind::kAveragePool, runtime.kernels.average_pool,
       input, window, window, 0, output);
}

void average_pool(const Runtime& runtime, const ByteTensor& input, size_t window,
                  const ByteTensor& output) {
  pool(runtime, "byte_average_pool", TappedOperation::Kind::kAveragePool,
       runtime.kernels.byte_average_pool, input, window, window, 0, output);
}

void max_pool(const Runtime& runtime, const Tensor& input, size_t window, size_t stride,
              size_t padding, const Tensor& output) {
  pool(runtime, "max_pool", TappedOperation::Kind::kMaxPool, runtime.kernels.max_pool, input,
       window, stride, padding, output);
}

void max_pool(const Runtime& runtime, const ByteTensor& input, size_t window, size_t stride,
              size_t padding, const ByteTensor& output) {
  pool(runtime, "byte_max_pool", TappedOperation::Kind::kMaxPool, runtime.kernels.byte_max_pool,
       input, window, stride, padding, output);
}

void upsample2(const Runtime& runtime, const Tensor& input, const Tensor& output) {
  upsample(runtime, "upsample", runtime.kernels.upsample, input, output);
}

void upsample2(const Runtime& runtime, const ByteTensor& input, const ByteTensor& output) {
  upsample(runtime, "byte_upsample", runtime.kernels.byte_upsample, input, output);
}

void scale_columns(const Runtime& runtime, Matrix x, const float* scale, Matrix y) {
  const Observed observed(runtime, [&] {
    return moving_work<float>({}, "scale_columns", {x.data, x.rows, 1, x.columns},
                              {y.data, y.rows, 1, y.columns}, 1, 1);
  });
  runtime.plan_steps(static_cast<double>(x.rows * x.columns));
  const Split rows = split(x.rows, 1, x.rows * x.columns * sizeof(float) / kMovedBytes);
  runtime.parallel_for(rows.pieces, [&](size_t task) {
    const auto [begin, count] = rows[task];
    runtime.kernels.scale_columns({.x = x.row(begin),
                                   .x_stride = x.stride,
                                   .scale = scale,
                                   .y = y.row(begin),
                                   .y_stride = y.stride,
                                   .rows = count,
                                   .columns = x.columns});
  });
}

void layer_norm(const Runtime& runtime, const LayerNorm& weights, Matrix x, Matrix y) {
  const Observed observed(runtime, [&] {
    return moving_work<float>(weights.name, "layer_norm", {x.data, x.rows, 1, x.columns},
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
