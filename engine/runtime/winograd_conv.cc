#include "engine/runtime/winograd_conv.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <thread>

#include "engine/runtime/op_tasks.h"
#include "engine/runtime/split.h"

namespace lightcap::internal {
namespace {

// [component][row][column]. The same element of all components is what a transform reads or writes
// at once, so components lie an odd number of cache lines apart: by a multiple of 4 KiB, as many
// would, all those lines fall into one set of L1.
template <class T>
struct Components {
  MatrixOf<T> first;
  size_t stride;

  Components(Arena& arena, size_t count, size_t rows, size_t columns)
      : stride((ceil_div(rows * columns, kLine) | 1) * kLine) {
    first = {arena.elements<T>(count * stride), rows, columns, columns};
  }
  MatrixOf<T> operator[](size_t i) const {
    return {first.data + i * stride, first.rows, first.columns, first.stride};
  }

  static constexpr size_t kLine = 64 / sizeof(T);
};

// The sizes of a convolution by tiles.
struct Sizes {
  size_t tile, components, tiles, in, out;

  template <class AnyConv>
  explicit Sizes(const AnyConv& conv)
      : tile(conv.winograd.tile()),
        components(winograd_components(tile)),
        tiles(winograd_tiles(conv.input.height, conv.input.width, tile)),
        in(conv.weights.in),
        out(conv.weights.out()) {}
};

// Multiplies a component a task, by filtering.multiply().
template <class Filtering, class Component, class Product>
void multiply_components(const Runtime& runtime, const Filtering& filtering, size_t rows,
                         const Components<Component>& from, const Components<Product>& to) {
  runtime.parallel_for(filtering.sizes.components, [&](size_t component) {
    filtering.multiply(component, rows, from, to, component + 1);
  });
}

// Weights that are not kept transformed are transformed for so many columns at a time.
constexpr size_t kColumnsAnew = kColumnUnit;

// Hands out numbers below `count`, which is at most 16, to tasks under way: one a thread will do. A
// thread mostly gets the number that it gave back, and finds in its L2 what belongs to it.
class FreeNumbers {
 public:
  explicit FreeNumbers(size_t count) : free_((uint32_t{1} << count) - 1) {}
  // Waits where more tasks are under way than there are numbers.
  size_t take() {
    uint32_t free = free_.load(std::memory_order_relaxed);
    while (true) {
      if (free == 0) {
        std::this_thread::yield();
        free = free_.load(std::memory_order_relaxed);
      } else if (free_.compare_exchange_weak(free, free & (free - 1), std::memory_order_acquire)) {
        return static_cast<size_t>(std::countr_zero(free));
      }
    }
  }
  void give_back(size_t number) {
    free_.fetch_or(uint32_t{1} << number, std::memory_order_release);
  }

  static constexpr size_t kMost = 16;

 private:
  std::atomic<uint32_t> free_;  // a bit for each
};

// The three steps: a chunk's input to components, each of these to a product, products to pixels.
// `Component` and `Product` are the numbers between them.
struct FloatFiltering {
  using Component = float;
  using Product = float;
  const Runtime& runtime;
  const WinogradConv& conv;
  Sizes sizes;

  // The part's tiles become rows of `to` from `row` on.
  void transform_input(Piece part, const Components<float>& to, size_t row) const {
    runtime.kernels.winograd_input({.input = conv.input.data,
                                    .input_row_stride = conv.input.row_stride,
                                    .input_pixel_stride = conv.input.pixel_stride,
                                    .height = conv.input.height,
                                    .width = conv.input.width,
                                    .channels = sizes.in,
                                    .tile = sizes.tile,
                                    .output = to.first.row(row),
                                    .component_stride = to.stride,
                                    .tile_stride = to.first.stride,
                                    .first_tile = part.begin,
                                    .tiles = part.count});
  }

  // `next` is the component whose weights this thread is likely to need next.
  void multiply(size_t component, size_t rows, const Components<float>& from,
                const Components<float>& to, size_t next) const {
    const Matrix a = from[component], c = to[component];
    runtime.kernels.gemm(
        {.a = a.data,
         .a_stride = a.stride,
         .weights = conv.winograd.component(component),
         .c = c.data,
         .c_stride = c.stride,
         .rows = rows,
         .epilogue = {},
         .next_panels = next < sizes.components ? conv.winograd.component(next).data : nullptr});
  }

  void multiply_all(size_t rows, const Components<float>& from, const Components<float>& to) const {
    if (conv.winograd.is_kept()) {
      multiply_components(runtime, *this, rows, from, to);
    } else {
      multiply_anew(rows, from, to);
    }
  }

  // The part of the next task's weights to prefetch while component i of this one is multiplied: as
  // many bytes as that component has, until all of them are on their way.
  const char* following(size_t column, size_t i, size_t component_bytes) const {
    const PackedMatrix& weights = conv.weights.weights;
    if (column + 2 * kColumnsAnew > weights.outputs) return nullptr;
    const PackedMatrix next = weights.slice(column + kColumnsAnew, kColumnsAnew);
    const size_t begin = i * component_bytes;
    return begin < next.bytes() ? static_cast<const char*>(next.data) + begin : nullptr;
  }

  // A task has all components of some columns.
  void multiply_anew(size_t rows, const Components<float>& from,
                     const Components<float>& to) const {
    const Arena::Scope scope(runtime.arena);
    const Split columns = split(sizes.out, kColumnsAnew, SIZE_MAX);
    const size_t at_once =
        std::min({columns.pieces, runtime.pool.most_threads(), FreeNumbers::kMost});
    const size_t component = panel_elements(columns.largest(), sizes.in);
    const Components<float> scratch(runtime.arena, at_once * sizes.components, 1, component);
    FreeNumbers numbers(at_once);
    runtime.parallel_for(columns.pieces, [&](size_t task) {
      const auto [column, count] = columns[task];
      const size_t number = numbers.take(), first = number * sizes.components;
      runtime.kernels.winograd_weights({.weights = conv.weights.weights.slice(column, count),
                                        .output = scratch[first].data,
                                        .component_stride = scratch.stride});
      for (size_t i = 0; i < sizes.components; ++i) {
        const Matrix a = from[i], c = to[i];
        runtime.kernels.gemm({.a = a.data,
                              .a_stride = a.stride,
                              .weights = {scratch[first + i].data, count, sizes.in},
                              .c = c.data + column,
                              .c_stride = c.stride,
                              .rows = rows,
                              .epilogue = {},
                              .next_panels = following(column, i, component * sizeof(float))});
      }
      numbers.give_back(number);
    });
  }

  void transform_output(Piece part, const Components<float>& from, size_t row) const {
    runtime.kernels.winograd_output({.input = from.first.row(row),
                                     .component_stride = from.stride,
                                     .tile_stride = from.first.stride,
                                     .tile = sizes.tile,
                                     .output = conv.output.data,
                                     .output_pixel_stride = conv.output.pixel_stride,
                                     .height = conv.input.height,
                                     .width = conv.input.width,
                                     .first_tile = part.begin,
                                     .tiles = part.count,
                                     .columns = sizes.out,
                                     .epilogue = conv.epilogue,
                                     .pooled = conv.pooled});
  }
};

struct IntegerFiltering {
  using Component = int16_t;
  using Product = int32_t;
  const Runtime& runtime;
  const IntegerWinogradConv& conv;
  Sizes sizes;

  void transform_input(Piece part, const Components<int16_t>& to, size_t row) const {
    runtime.kernels.integer_winograd_input({.input = conv.input.data,
                                            .input_row_stride = conv.input.row_stride,
                                            .input_pixel_stride = conv.input.pixel_stride,
                                            .height = conv.input.height,
                                            .width = conv.input.width,
                                            .channels = sizes.in,
                                            .input_zero = conv.weights.quantization.input_zero,
                                            .output = to.first.row(row),
                                            .component_stride = to.stride,
                                            .tile_stride = to.first.stride,
                                            .first_tile = part.begin,
                                            .tiles = part.count});
  }

  void multiply(size_t component, size_t rows, const Components<int16_t>& from,
                const Components<int32_t>& to, size_t next) const {
    const MatrixOf<int16_t> a = from[component];
    const MatrixOf<int32_t> c = to[component];
    runtime.kernels.pair_gemm({.a = a.data,
                               .a_stride = a.stride,
                               .weights = conv.winograd.integer_component(component),
                               .depth = sizes.in,
                               .columns = sizes.out,
                               .c = c.data,
                               .c_stride = c.stride,
                               .rows = rows,
                               .next_weights = conv.winograd.integer_component(next)});
  }

  void multiply_all(size_t rows, const Components<int16_t>& from,
                    const Components<int32_t>& to) const {
    multiply_components(runtime, *this, rows, from, to);
  }

  void transform_output(Piece part, const Components<int32_t>& from, size_t row) const {
    runtime.kernels.integer_winograd_output({.input = from.first.row(row),
                                             .component_stride = from.stride,
                                             .tile_stride = from.first.stride,
                                             .weights = conv.weights.weights,
                                             .output = conv.output,
                                             .output_pixel_stride = conv.output_pixel_stride,
                                             .height = conv.input.height,
                                             .width = conv.input.width,
                                             .first_tile = part.begin,
                                             .tiles = part.count,
                                             .epilogue = conv.epilogue});
  }
};

// Components and products that are under way at a time: caches hold them between the
// steps. But not so few tiles that the weights, read once a chunk, are what it mostly reads.
constexpr size_t kChunkBytes = 768 * 1024;
constexpr size_t kChunkTiles = 24;
// A chunk that transforms the weights should be worth it.
constexpr size_t kChunkTilesAnew = 64;

template <class Filtering>
size_t chunk_tiles(const Filtering& filtering) {
  const Sizes& sizes = filtering.sizes;
  using Component = typename Filtering::Component;
  const size_t tile_bytes =
      sizes.in * sizeof(Component) + sizes.out * sizeof(typename Filtering::Product);
  const size_t worth_weights = sizes.in * sizes.out * sizeof(Component) * 3 / 8 / tile_bytes;
  const size_t fewest = filtering.conv.winograd.is_kept() ? kChunkTiles : kChunkTilesAnew;
  return std::max({fewest, kChunkBytes / (sizes.components * tile_bytes), worth_weights});
}

// Bytes of components that a task of a transform reads or writes.
constexpr size_t kTransformBytes = 64 * 1024;

// All threads take part in each step of a chunk, so that a component of the weights is read once a
// chunk, by one task. The last step of a chunk and the first of the next share a loop.
template <class Filtering>
void filter(const Runtime& runtime, const Filtering& filtering) {
  using Component = typename Filtering::Component;
  using Product = typename Filtering::Product;
  const Arena::Scope scope(runtime.arena);
  const Sizes& sizes = filtering.sizes;
  const size_t components = sizes.components, tiles = sizes.tiles;
  const Split chunks =
      split(tiles, runtime.kernels.tile_rows, ceil_div(tiles, chunk_tiles(filtering)));
  const Components<Component> inputs(runtime.arena, components, chunks.largest(), sizes.in);
  const Components<Product> outputs(runtime.arena, components, chunks.largest(), sizes.out);
  Piece done = {0, 0};
  for (size_t i = 0; i <= chunks.pieces; ++i) {
    const Piece chunk = i < chunks.pieces ? chunks[i] : Piece{tiles, 0};
    const auto tasks = [&](Piece of, size_t row_bytes) {
      return split(of.count, 1, components * of.count * row_bytes / kTransformBytes);
    };
    const Split output_tasks = tasks(done, sizes.out * sizeof(Product));
    const Split input_tasks = tasks(chunk, sizes.in * sizeof(Component));
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
    filtering.multiply_all(chunk.count, inputs, outputs);
    done = chunk;
  }
}

}  // namespace

void winograd_conv2d(const Runtime& runtime, const WinogradConv& conv) {
  filter(runtime, FloatFiltering{runtime, conv, Sizes(conv)});
}

void winograd_conv2d(const Runtime& runtime, const IntegerWinogradConv& conv) {
  filter(runtime, IntegerFiltering{runtime, conv, Sizes(conv)});
}

}  // namespace lightcap::internal
