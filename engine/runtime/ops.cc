#include "engine/runtime/ops.h"

#include <algorithm>

#include "engine/runtime/split.h"
#include "engine/runtime/winograd_conv.h"

namespace lightcap::internal {
namespace {

// Multiply-adds that a task should at least be worth: some 5 us on one core, against less than 1
// us for handing it out.
constexpr size_t kTaskMacs = 256 * 1024;
// The floats of weights that make a task where rows are so few that memory bandwidth is the limit:
// 128 KiB.
constexpr size_t kTaskWeights = 32 * 1024;

// A product of rows x depth x columns as a grid of tasks. Rows are cut first, into pieces of some
// register tiles: each task then streams all panels past rows that stay in its L2. Where rows are
// too few to feed the threads, columns are cut as well, by whole pairs of panels.
struct Grid {
  Split rows, columns;
  size_t tasks() const { return rows.pieces * columns.pieces; }
};

constexpr size_t kRowsPerTask = 96;  // weights are read from L2 once for so many
constexpr size_t kColumnUnit = 2 * kPanelWidth;
constexpr size_t kTasksWanted = 16;  // enough to even out 4 threads

Grid grid(const Runtime& runtime, size_t rows, size_t depth, size_t columns) {
  const size_t weights = depth * columns;
  const size_t tasks = std::max<size_t>({rows * weights / kTaskMacs, weights / kTaskWeights, 1});
  const Split row_split =
      split(rows, runtime.kernels.tile_rows, std::min(tasks, ceil_div(rows, kRowsPerTask)));
  const size_t columns_wanted = ceil_div(std::min(tasks, kTasksWanted), row_split.pieces);
  return {row_split, split(columns, kColumnUnit, columns_wanted)};
}

Epilogue epilogue_of(const float* bias, const Fused& fused) {
  return {bias, fused.residual, fused.residual_stride, fused.residual_after, fused.activation};
}

// The epilogue for the columns from `column` on and rows from `row` on.
Epilogue shifted(Epilogue epilogue, size_t row, size_t column) {
  if (epilogue.bias != nullptr) epilogue.bias += column;
  if (epilogue.residual != nullptr) epilogue.residual += row * epilogue.residual_stride + column;
  return epilogue;
}

constexpr double kFloatBytes = sizeof(float);

double floats_of(const Tensor& x) { return static_cast<double>(x.height * x.width * x.channels); }

// Bytes that `floats` activations and the weights move.
double moved_bytes(double floats, const PackedMatrix& weights) {
  const size_t elements = weights.outputs * weights.depth;
  return floats * kFloatBytes + static_cast<double>(elements * data_type_bytes(weights.type));
}

LayerWork linear_work(const Linear& weights, size_t rows, const Fused& fused) {
  const size_t outputs = rows * weights.out() * (fused.residual == nullptr ? 1 : 2);
  return {
      .name = weights.name,
      .kernel = "gemm",
      .height = rows,
      .channels = weights.in(),
      .out = weights.out(),
      .macs = static_cast<double>(rows * weights.in() * weights.out()),
      .bytes = moved_bytes(static_cast<double>(rows * weights.in() + outputs), weights.weights)};
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

// A product's steps: panels are computed as wholes, and an output takes some steps beside its sum.
double product_steps(size_t rows, size_t depth, size_t columns) {
  constexpr size_t kOutputSteps = 4;
  return static_cast<double>(rows) * static_cast<double>(depth + kOutputSteps) *
         static_cast<double>(ceil_div(columns, kPanelWidth) * kPanelWidth);
}

// Runs an operation under the runtime's tap; describe() -> TappedOperation is called only if there
// is one.
template <class Describe, class Run>
void tapped(const Runtime& runtime, Describe&& describe, Run&& run) {
  if (runtime.tap == nullptr || runtime.arena.planning()) return run();
  const TappedOperation operation = describe();
  runtime.tap->before(operation);
  run();
  runtime.tap->after(operation);
}

// The rows of a matrix as a column of pixels.
Tensor column_of(const Matrix& x) { return {x.data, x.rows, 1, x.columns, x.stride, x.stride}; }

template <class F>
void for_each_tile(const Runtime& runtime, const Grid& tiles, F&& f) {
  runtime.parallel_for(tiles.tasks(), [&](size_t task) {
    // Neighbouring tasks share rows: they find them in the cache that threads share.
    const size_t r = task / tiles.columns.pieces;
    const size_t c = task % tiles.columns.pieces;
    f(tiles.rows.begin(r), tiles.rows.begin(r + 1), tiles.columns.begin(c),
      tiles.columns.begin(c + 1));
  });
}

void multiply(const Runtime& runtime, const Linear& weights, Matrix a, Matrix c,
              const Fused& fused) {
  const Observed observed(runtime, [&] { return linear_work(weights, a.rows, fused); });
  runtime.plan_steps(product_steps(a.rows, weights.in(), weights.out()));
  const Epilogue epilogue = epilogue_of(weights.bias, fused);
  for_each_tile(
      runtime, grid(runtime, a.rows, weights.in(), weights.out()),
      [&](size_t row, size_t row_end, size_t column, size_t column_end) {
        runtime.kernels.gemm({.a = a.row(row),
                              .a_stride = a.stride,
                              .weights = weights.weights.slice(column, column_end - column),
                              .c = c.row(row) + column,
                              .c_stride = c.stride,
                              .rows = row_end - row,
                              .epilogue = shifted(epilogue, row, column)});
      });
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

void linear(const Runtime& runtime, const Linear& weights, Matrix a, Matrix c, const Fused& fused) {
  tapped(
      runtime,
      [&] {
        return TappedOperation{.kind = TappedOperation::Kind::kLinear,
                               .input = column_of(a),
                               .output = column_of(c),
                               .linear = &weights,
                               .fused = &fused};
      },
      [&] { multiply(runtime, weights, a, c, fused); });
}

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

// Input of one task of an operation that only moves data: 64 KiB.
constexpr size_t kMovedFloats = 16 * 1024;

using PoolKernel = void (*)(const PoolArgs&);

void pool_rows(const Runtime& runtime, PoolKernel kernel, const Tensor& input, size_t window,
               size_t stride, size_t padding, const Tensor& output) {
  runtime.plan_steps(floats_of(output) * static_cast<double>(window * window));
  const size_t row_floats = std::max<size_t>(stride * input.width * input.channels, 1);
  const Split rows = split(output.height, 1, output.height * row_floats / kMovedFloats);
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
  const Split rows = split(input.height, 1, input.height * input.row_stride / kMovedFloats);
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
