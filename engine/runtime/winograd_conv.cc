#include "engine/runtime/winograd_conv.h"

#include <algorithm>

#include "engine/runtime/split.h"

namespace lightcap::internal {
namespace {

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

// The three steps: a chunk's input to components, each of these to a product, products to pixels.
struct Filtering {
  const Runtime& runtime;
  const WinogradConv& conv;
  size_t tile, components, tiles;

  Filtering(const Runtime& run, const WinogradConv& what)
      : runtime(run),
        conv(what),
        tile(what.winograd.tile()),
        components(winograd_components(tile)),
        tiles(winograd_tiles(what.input.height, what.input.width, tile)) {}

  // The part's tiles become rows of `to` from `row` on.
  void transform_input(Piece part, const Components& to, size_t row) const {
    runtime.kernels.winograd_input({.input = conv.input.data,
                                    .input_row_stride = conv.input.row_stride,
                                    .input_pixel_stride = conv.input.pixel_stride,
                                    .height = conv.input.height,
                                    .width = conv.input.width,
                                    .channels = conv.weights.in,
                                    .tile = tile,
                                    .output = to.first.row(row),
                                    .component_stride = to.stride,
                                    .tile_stride = to.first.stride,
                                    .first_tile = part.begin,
                                    .tiles = part.count});
  }

  // `next` is the component whose weights this thread is likely to need next.
  void multiply(size_t component, size_t rows, const Components& from, const Components& to,
                size_t next) const {
    const Matrix a = from[component], c = to[component];
    runtime.kernels.gemm(
        {.a = a.data,
         .a_stride = a.stride,
         .weights = conv.winograd.component(component),
         .c = c.data,
         .c_stride = c.stride,
         .rows = rows,
         .epilogue = {},
         .next_panels = next < components ? conv.winograd.component(next).data : nullptr});
  }

  void transform_output(Piece part, const Components& from, size_t row) const {
    runtime.kernels.winograd_output({.input = from.first.row(row),
                                     .component_stride = from.stride,
                                     .tile_stride = from.first.stride,
                                     .tile = tile,
                                     .output = conv.output.data,
                                     .output_pixel_stride = conv.output.pixel_stride,
                                     .height = conv.input.height,
                                     .width = conv.input.width,
                                     .first_tile = part.begin,
                                     .tiles = part.count,
                                     .columns = conv.weights.out(),
                                     .epilogue = conv.epilogue,
                                     .pooled = conv.pooled});
  }

  size_t tile_floats() const { return components * (conv.weights.in + conv.weights.out()); }
};

// Components and products that are under way at a time, some 768 KiB: caches hold them between the
// steps. But not so few tiles that the weights, read once a chunk, are what it mostly reads.
constexpr size_t kChunkFloats = 192 * 1024;
constexpr size_t kChunkTiles = 24;

size_t chunk_tiles(const Filtering& filtering) {
  const Conv& weights = filtering.conv.weights;
  const size_t worth_weights = weights.in * weights.out() * 3 / 8 / (weights.in + weights.out());
  return std::max({kChunkTiles, kChunkFloats / filtering.tile_floats(), worth_weights});
}

// Floats of components that a task of a transform reads or writes: 64 KiB.
constexpr size_t kTransformFloats = 16 * 1024;

}  // namespace

// All threads take part in each step of a chunk, so that a component of the weights is read once a
// chunk, by one task. The last step of a chunk and the first of the next share a loop.
void winograd_conv2d(const Runtime& runtime, const WinogradConv& conv) {
  const Arena::Scope scope(runtime.arena);
  const Conv& weights = conv.weights;
  const Filtering filtering(runtime, conv);
  const size_t components = filtering.components, tiles = filtering.tiles;
  const Split chunks =
      split(tiles, runtime.kernels.tile_rows, ceil_div(tiles, chunk_tiles(filtering)));
  const Components inputs(runtime.arena, components, chunks.largest(), weights.in);
  const Components outputs(runtime.arena, components, chunks.largest(), weights.out());
  Piece done = {0, 0};
  for (size_t i = 0; i <= chunks.pieces; ++i) {
    const Piece chunk = i < chunks.pieces ? chunks[i] : Piece{tiles, 0};
    const auto tasks = [&](Piece of, size_t channels) {
      return split(of.count, 1, components * of.count * channels / kTransformFloats);
    };
    const Split output_tasks = tasks(done, weights.out()), input_tasks = tasks(chunk, weights.in);
    runtime.parallel_for(output_tasks.pieces + input_tasks.pieces, [&](size_t task) {
      if (task < output_tasks.pieces) {
        const Piece part = output_tasks[task];
        filtering.transform_output({done.begin + part.begin, part.count}, outputs, part.begin);
      } else {
        const Piece part = input_tasks[task - output_tasks.pieces];
        filtering.transform_input({chunk.begin + part.begin, part.count}, inputs, part.begin);
      }
    });
    if (chunk.count == 0) return;
    runtime.parallel_for(components, [&](size_t component) {
      const size_t next = component + static_cast<size_t>(runtime.pool.threads());
      filtering.multiply(component, chunk.count, inputs, outputs, next);
    });
    done = chunk;
  }
}

}  // namespace lightcap::internal
