#include "engine/ops.h"

#include <algorithm>

namespace lightcap {
namespace {

constexpr size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

// Multiply-adds that a task should at least be worth: some 10 us on one core, against less than 1
// us for handing it out.
constexpr size_t kTaskMacs = 512 * 1024;
// Or floats of weights, where rows are so few that reading these takes longer: 128 KiB.
constexpr size_t kTaskWeights = 32 * 1024;

// How many pieces of whole `unit`s `total` is cut into, and where each begins. Pieces differ by one
// unit at most.
struct Split {
  size_t total, unit, pieces;

  size_t begin(size_t piece) const {
    const size_t units = ceil_div(total, unit);
    return std::min(units * piece / pieces * unit, total);
  }
  // The most that a piece has.
  size_t largest() const { return std::min(ceil_div(ceil_div(total, unit), pieces) * unit, total); }
};

Split split(size_t total, size_t unit, size_t pieces) {
  return {total, unit, std::clamp<size_t>(pieces, 1, ceil_div(total, unit))};
}

// A product of rows x depth x columns as a grid of tasks. Rows are cut first, into pieces of some
// register tiles: each task then streams all panels past rows that stay in its L2. Where rows are
// too few to feed the threads, columns are cut as well, by whole pairs of panels.
struct Grid {
  Split rows, columns;
  size_t tasks() const { return rows.pieces * columns.pieces; }
};

constexpr size_t kRowUnit = 12;      // the tallest register tile
constexpr size_t kRowsPerTask = 96;  // 8 tiles: weights are read from L2 once per 96 rows
constexpr size_t kColumnUnit = 2 * kPanelWidth;
constexpr size_t kTasksWanted = 16;  // enough to even out 4 threads

Grid grid(size_t rows, size_t depth, size_t columns) {
  const size_t weights = depth * columns;
  const size_t tasks = std::max<size_t>({rows * weights / kTaskMacs, weights / kTaskWeights, 1});
  const Split row_split = split(rows, kRowUnit, std::min(tasks, ceil_div(rows, kRowsPerTask)));
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

LayerWork linear_work(const Linear& weights, size_t rows, const Fused& fused) {
  const size_t outputs = rows * weights.out * (fused.residual == nullptr ? 1 : 2);
  const size_t floats = rows * weights.in + weights.in * weights.out + outputs;
  return {.name = weights.name,
          .kernel = "gemm",
          .height = rows,
          .channels = weights.in,
          .out = weights.out,
          .macs = static_cast<double>(rows * weights.in * weights.out),
          .bytes = static_cast<double>(floats) * kFloatBytes};
}

// `written` is the output, or what is pooled from it.
LayerWork conv_work(const Conv& weights, const Tensor& input, const Tensor& output,
                    const Tensor& written, const Fused& fused, bool winograd) {
  const double taps = static_cast<double>(weights.kernel * weights.kernel);
  const double channels = static_cast<double>(weights.in * weights.out);
  const double weight_floats =
      channels *
      (winograd ? static_cast<double>(winograd_components(weights.winograd->tile())) : taps);
  const double outputs = floats_of(written) * (fused.residual == nullptr ? 1 : 2);
  constexpr const char* kWinograd[2][2] = {{"winograd2", "winograd2+pool"},
                                           {"winograd4", "winograd4+pool"}};
  const bool pooled = written.height != output.height;
  const char* kernel = winograd ? kWinograd[weights.winograd->tile() == 4][pooled] : "conv";
  return {.name = weights.name,
          .kernel = kernel,
          .height = output.height,
          .width = output.width,
          .channels = weights.in,
          .kernel_size = weights.kernel,
          .stride = weights.stride,
          .out = weights.out,
          .macs = static_cast<double>(output.height * output.width) * taps * channels,
          .bytes = (floats_of(input) + weight_floats + outputs) * kFloatBytes};
}

// Of layers that compute next to nothing.
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

}  // namespace

void linear(const Runtime& runtime, const Linear& weights, Matrix a, Matrix c, const Fused& fused) {
  const Observed observed(runtime, [&] { return linear_work(weights, a.rows, fused); });
  const Epilogue epilogue = epilogue_of(weights.bias, fused);
  for_each_tile(runtime, grid(a.rows, weights.in, weights.out),
                [&](size_t row, size_t row_end, size_t column, size_t column_end) {
                  runtime.kernels.gemm({.a = a.row(row),
                                        .a_stride = a.stride,
                                        .panels = weights.panels + column * weights.in,
                                        .c = c.row(row) + column,
                                        .c_stride = c.stride,
                                        .rows = row_end - row,
                                        .depth = weights.in,
                                        .columns = column_end - column,
                                        .epilogue = shifted(epilogue, row, column)});
                });
}

namespace {

// Components and products that are under way at a time, some 512 KiB: caches hold them between the
// three steps. But not so few tiles that the weights, read once a chunk, are what it mostly reads.
constexpr size_t kChunkFloats = 128 * 1024;
constexpr size_t kChunkTiles = 24;

size_t chunk_tiles(const Conv& weights, size_t components) {
  const size_t tile_floats = weights.in + weights.out;  // of one component
  const size_t worth_weights = weights.in * weights.out * 3 / 8 / tile_floats;
  return std::max({kChunkTiles, kChunkFloats / (components * tile_floats), worth_weights});
}

// Of which a task transforms so many.
constexpr size_t kTransformFloats = 16 * 1024;

// [component][row][column]. The same element of all components is what a transform reads or writes
// at once, so components lie an odd number of cache lines apart: by a multiple of 4 KiB, as many
// would, all those lines fall into one set of L1.
struct Components {
  Matrix first;
  size_t stride;

  Components(Arena& arena, size_t count, size_t rows, size_t columns)
      : stride((ceil_div(rows * columns, kLineFloats) | 1) * kLineFloats) {
    first = {arena.floats(count * stride), rows, columns, columns};
  }
  Matrix operator[](size_t i) const {
    return {first.data + i * stride, first.rows, first.columns, first.stride};
  }

  static constexpr size_t kLineFloats = 16;
};

// Tiles in chunks; of a chunk first the components of its input, then a product for each, then the
// output's pixels, or means of 2 x 2 of these. So a component of the weights is read once a chunk,
// by one task.
void winograd_conv2d(const Runtime& runtime, const Conv& weights, const Tensor& input,
                     const Tensor& output, const Epilogue& epilogue, bool pooled) {
  const size_t tile = weights.winograd->tile();
  const size_t components = winograd_components(tile);
  const size_t tiles = winograd_tiles(input.height, input.width, tile);
  const Split chunks = split(tiles, kRowUnit, ceil_div(tiles, chunk_tiles(weights, components)));
  const size_t rows = chunks.largest();
  const Arena::Scope scope(runtime.arena);
  const Components transformed(runtime.arena, components, rows, weights.in);
  const Components products(runtime.arena, components, rows, weights.out);
  if (runtime.planning()) return;
  const float* panels = weights.winograd->get(runtime.pool);
  for (size_t chunk = 0; chunk < chunks.pieces; ++chunk) {
    const size_t first = chunks.begin(chunk), count = chunks.begin(chunk + 1) - first;
    const Split inputs = split(count, 1, components * count * weights.in / kTransformFloats);
    runtime.parallel_for(inputs.pieces, [&](size_t task) {
      const size_t begin = inputs.begin(task);
      runtime.kernels.winograd_input({.input = input.data,
                                      .input_row_stride = input.row_stride,
                                      .input_pixel_stride = input.pixel_stride,
                                      .height = input.height,
                                      .width = input.width,
                                      .channels = weights.in,
                                      .tile = tile,
                                      .output = transformed.first.row(begin),
                                      .component_stride = transformed.stride,
                                      .tile_stride = transformed.first.stride,
                                      .first_tile = first + begin,
                                      .tiles = inputs.begin(task + 1) - begin});
    });
    const auto component_panels = [&](size_t component) {
      return panels + component * weights.winograd->component_stride();
    };
    runtime.parallel_for(components, [&](size_t component) {
      // The one that this thread is likely to come to next.
      const size_t next = component + static_cast<size_t>(runtime.pool.threads());
      const Matrix a = transformed[component], c = products[component];
      runtime.kernels.gemm({.a = a.data,
                            .a_stride = a.stride,
                            .panels = component_panels(component),
                            .c = c.data,
                            .c_stride = c.stride,
                            .rows = count,
                            .depth = weights.in,
                            .columns = weights.out,
                            .epilogue = {},
                            .next_panels = next < components ? component_panels(next) : nullptr});
    });
    const Split outputs = split(count, 1, components * count * weights.out / kTransformFloats);
    runtime.parallel_for(outputs.pieces, [&](size_t task) {
      const size_t begin = outputs.begin(task);
      runtime.kernels.winograd_output({.input = products.first.row(begin),
                                       .component_stride = products.stride,
                                       .tile_stride = products.first.stride,
                                       .tile = tile,
                                       .output = output.data,
                                       .output_pixel_stride = output.pixel_stride,
                                       .height = input.height,
                                       .width = input.width,
                                       .first_tile = first + begin,
                                       .tiles = outputs.begin(task + 1) - begin,
                                       .columns = weights.out,
                                       .epilogue = epilogue,
                                       .pooled = pooled});
    });
  }
}

}  // namespace

void conv2d(const Runtime& runtime, const Conv& weights, const Tensor& input, const Tensor& output,
            const Fused& fused) {
  if (weights.kernel == 1 && weights.stride == 1 && input.rows_are_dense()) {
    const Linear as_linear = {weights.panels, weights.bias, weights.in, weights.out, weights.name};
    linear(runtime, as_linear, input.pixels(), output.pixels(), fused);
    return;
  }
  const bool winograd = weights.winograd != nullptr && runtime.winograd;
  const Observed observed(
      runtime, [&] { return conv_work(weights, input, output, output, fused, winograd); });
  const Epilogue epilogue = epilogue_of(weights.bias, fused);
  if (winograd) {
    winograd_conv2d(runtime, weights, input, output, epilogue, false);
    return;
  }
  const size_t depth = weights.kernel * weights.kernel * weights.in;
  for_each_tile(runtime, grid(output.height * output.width, depth, weights.out),
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
                                        .panels = weights.panels + column * depth,
                                        .output = output.data + column,
                                        .output_pixel_stride = output.pixel_stride,
                                        .output_width = output.width,
                                        .first_pixel = pixel,
                                        .pixels = pixel_end - pixel,
                                        .columns = column_end - column,
                                        .epilogue = shifted(epilogue, 0, column)});
                });
}

void conv2d_pooled(const Runtime& runtime, const Conv& weights, const Tensor& input,
                   const Tensor& whole, const Tensor& pooled, Activation activation) {
  const Fused fused = {.activation = activation};
  if (weights.winograd == nullptr || !runtime.winograd) {
    conv2d(runtime, weights, input, whole, fused);
    average_pool(runtime, whole, 2, pooled);
    return;
  }
  const Observed observed(runtime,
                          [&] { return conv_work(weights, input, whole, pooled, fused, true); });
  winograd_conv2d(runtime, weights, input, pooled, epilogue_of(weights.bias, fused), true);
}

namespace {

// What a task of those that only move data reads: 64 KiB.
constexpr size_t kMovedFloats = 16 * 1024;

using PoolKernel = void (*)(const PoolArgs&);

void pool_rows(const Runtime& runtime, PoolKernel kernel, const Tensor& input, size_t window,
               size_t stride, size_t padding, const Tensor& output) {
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
            .first_row = rows.begin(task),
            .rows = rows.begin(task + 1) - rows.begin(task)});
  });
}

}  // namespace

void average_pool(const Runtime& runtime, const Tensor& input, size_t window,
                  const Tensor& output) {
  const Observed observed(
      runtime, [&] { return moving_work({}, "average_pool", input, output, window, window); });
  pool_rows(runtime, runtime.kernels.average_pool, input, window, window, 0, output);
}

void max_pool(const Runtime& runtime, const Tensor& input, size_t window, size_t stride,
              size_t padding, const Tensor& output) {
  const Observed observed(
      runtime, [&] { return moving_work({}, "max_pool", input, output, window, stride); });
  pool_rows(runtime, runtime.kernels.max_pool, input, window, stride, padding, output);
}

void upsample2(const Runtime& runtime, const Tensor& input, const Tensor& output) {
  const Observed observed(runtime,
                          [&] { return moving_work({}, "upsample", input, output, 1, 1); });
  const Split rows = split(input.height, 1, input.height * input.row_stride / kMovedFloats);
  runtime.parallel_for(rows.pieces, [&](size_t task) {
    const size_t begin = rows.begin(task);
    runtime.kernels.upsample({.input = input.data + begin * input.row_stride,
                              .input_row_stride = input.row_stride,
                              .input_pixel_stride = input.pixel_stride,
                              .rows = rows.begin(task + 1) - begin,
                              .width = input.width,
                              .channels = input.channels,
                              .output = output.data + 2 * begin * output.row_stride,
                              .output_row_stride = output.row_stride,
                              .output_pixel_stride = output.pixel_stride});
  });
}

void layer_norm(const Runtime& runtime, const LayerNorm& weights, Matrix x, Matrix y) {
  const Observed observed(runtime, [&] {
    return moving_work(weights.name, "layer_norm", {x.data, x.rows, 1, x.columns},
                       {y.data, y.rows, 1, y.columns}, 1, 1);
  });
  const Split rows = split(x.rows, 1, x.rows / 24);
  runtime.parallel_for(rows.pieces, [&](size_t task) {
    const size_t begin = rows.begin(task);
    runtime.kernels.layer_norm({.x = x.row(begin),
                                .x_stride = x.stride,
                                .weight = weights.weight,
                                .bias = weights.bias,
                                .eps = weights.eps,
                                .y = y.row(begin),
                                .y_stride = y.stride,
                                .rows = rows.begin(task + 1) - begin,
                                .columns = x.columns});
  });
}

}  // namespace lightcap
