// Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural
// Networks", 2015): 3x3 convolutions with stride 1 by tiles of m x m outputs. A tile's t x t
// inputs, t = m + 2, and the 3x3 weights are transformed to t^2 components, in which the
// convolution is one multiplication each: t^2 instead of 9 m^2, 4 times fewer for m = 4 and 2.25
// times fewer for m = 2.
//
// The transforms evaluate polynomials at t - 1 points and infinity. pack.cc has the weights'.
#ifndef LIGHTCAP_KERNELS_SIMD_WINOGRAD_INL_
#define LIGHTCAP_KERNELS_SIMD_WINOGRAD_INL_

#include "kernels/pack.h"
#include "kernels/simd/conv.inl"
#include "kernels/simd/pool.inl"

namespace lightcap::internal {
namespace {

// The transforms along one axis, for kTile outputs from kTile + 2 inputs.
template <size_t kTile>
struct Transform;

// That of tiles of 2 x 2 is for integers, too.
template <>
struct Transform<2> {
  static constexpr size_t kSide = 4;

  template <class Vector>
  static void input(const Vector (&d)[kSide], Vector (&v)[kSide]) {
    v[0] = d[0] - d[2];
    v[1] = d[2] + d[1];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
  }
  template <class Vector>
  static void output(const Vector (&m)[kSide], Vector (&y)[2]) {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = (m[1] - m[2]) + m[3];
  }
};

template <>
struct Transform<4> {
  static constexpr size_t kSide = 6;
  // The points a and b, their squares and the sum of the squares, whose product is 1.
  static constexpr float kA = static_cast<float>(kWinogradInnerPoint);
  static constexpr float kB = static_cast<float>(kWinogradOuterPoint);
  static constexpr float kA2 = 0.5f, kB2 = 2.0f, kSum = 2.5f;

  static void input(const Floats (&d)[kSide], Floats (&v)[kSide]) {
    const Floats even_a = multiply_add(Floats(-kB2), d[2], d[4]);
    const Floats odd_a = multiply_add(Floats(-kB2), d[1], d[3]);
    const Floats even_b = multiply_add(Floats(-kA2), d[2], d[4]);
    const Floats odd_b = multiply_add(Floats(-kA2), d[1], d[3]);
    v[0] = multiply_add(Floats(-kSum), d[2], d[4] + d[0]);
    v[1] = multiply_add(Floats(kA), odd_a, even_a);
    v[2] = multiply_add(Floats(-kA), odd_a, even_a);
    v[3] = multiply_add(Floats(kB), odd_b, even_b);
    v[4] = multiply_add(Floats(-kB), odd_b, even_b);
    v[5] = multiply_add(Floats(-kSum), d[3], d[5] + d[1]);
  }
  static void output(const Floats (&m)[kSide], Floats (&y)[4]) {
    const Floats sum_a = m[1] + m[2], difference_a = kA * (m[1] - m[2]);
    const Floats sum_b = m[3] + m[4], difference_b = kB * (m[3] - m[4]);
    y[0] = m[0] + (sum_a + sum_b);
    y[1] = difference_a + difference_b;
    y[2] = multiply_add(Floats(kA2), sum_a, kB2 * sum_b);
    y[3] = multiply_add(Floats(kA2), difference_a, multiply_add(Floats(kB2), difference_b, m[5]));
  }
};

// The first output pixel of tile `index` of a picture that is cut into rows of `across` tiles.
struct TilePlace {
  size_t y, x;
  TilePlace(size_t index, size_t across, size_t tile)
      : y(index / across * tile), x(index % across * tile) {}
};

// Pointers to a tile's input pixels; those outside the picture point to what counts there.
template <class Element, size_t kSide>
using TileInputs = const Element* [kSide][kSide];

// The vectors that floats are transformed in.
struct FloatInputs {
  using Element = float;
  using Component = float;
  using Vector = Floats;
  static constexpr size_t kSize = kLanes;
  static Floats load_some(const float* p, size_t count) { return load_partial(p, count); }
  static Floats load_all(const float* p) { return load(p); }
  static void store_some(float* p, Floats x, size_t count) { store_partial(p, x, count); }
  static void store_all(float* p, Floats x) { store(p, x); }
};

// Writes the components of `lanes` channels of one tile, from `channel` on.
template <size_t kTile, class Inputs, bool kWhole>
[[gnu::always_inline]] inline void transform_input(
    const TileInputs<typename Inputs::Element, Transform<kTile>::kSide>& inputs, size_t channel,
    size_t lanes, typename Inputs::Component* out, size_t component_stride) {
  constexpr size_t kSide = Transform<kTile>::kSide;
  using Vector = typename Inputs::Vector;
  Vector half[kSide][kSide];  // the columns are transformed, the rows not yet
#pragma GCC unroll 6
  for (size_t x = 0; x < kSide; ++x) {
    Vector d[kSide], v[kSide];
#pragma GCC unroll 6
    for (size_t y = 0; y < kSide; ++y) {
      const auto* at = inputs[y][x] + channel;
      d[y] = kWhole ? Inputs::load_all(at) : Inputs::load_some(at, lanes);
    }
    Transform<kTile>::input(d, v);
#pragma GCC unroll 6
    for (size_t y = 0; y < kSide; ++y) half[y][x] = v[y];
  }
#pragma GCC unroll 6
  for (size_t y = 0; y < kSide; ++y) {
    Vector v[kSide];
    Transform<kTile>::input(half[y], v);
#pragma GCC unroll 6
    for (size_t x = 0; x < kSide; ++x) {
      auto* at = out + (y * kSide + x) * component_stride;
      kWhole ? Inputs::store_all(at, v[x]) : Inputs::store_some(at, v[x], lanes);
    }
  }
}

// `outside` is kMaxOutside elements of what counts outside the picture.
template <size_t kTile, class Inputs, class Args>
[[gnu::always_inline]] inline void winograd_input_with(const Args& args,
                                                       const typename Inputs::Element* outside) {
  using Element = typename Inputs::Element;
  constexpr size_t kStep = Inputs::kSize;
  constexpr size_t kSide = Transform<kTile>::kSide;
  const size_t across = (args.width + kTile - 1) / kTile;
  for (size_t tile = 0; tile < args.tiles; ++tile) {
    const TilePlace place(args.first_tile + tile, across, kTile);
    // Coordinates left of or above the picture wrap around to very large ones.
    const size_t top = place.y - 1, left = place.x - 1;
    for (size_t first = 0; first < args.channels; first += kMaxOutside) {
      TileInputs<Element, kSide> inputs;
#pragma GCC unroll 6
      for (size_t y = 0; y < kSide; ++y) {
#pragma GCC unroll 6
        for (size_t x = 0; x < kSide; ++x) {
          const bool inside = top + y < args.height && left + x < args.width;
          const size_t offset =
              (top + y) * args.input_row_stride + (left + x) * args.input_pixel_stride + first;
          inputs[y][x] = inside ? args.input + offset : outside;
        }
      }
      auto* out = args.output + tile * args.tile_stride + first;
      const size_t channels = min_size(kMaxOutside, args.channels - first);
      size_t channel = 0;
      for (; channel + kStep <= channels; channel += kStep) {
        transform_input<kTile, Inputs, true>(inputs, channel, kStep, out + channel,
                                             args.component_stride);
      }
      if (channel < channels) {
        transform_input<kTile, Inputs, false>(inputs, channel, channels - channel, out + channel,
                                              args.component_stride);
      }
    }
  }
}

void winograd_input(const WinogradInputArgs& args) {
  args.tile == 2 ? winograd_input_with<2, FloatInputs>(args, kZeros)
                 : winograd_input_with<4, FloatInputs>(args, kZeros);
}

constexpr size_t kWinogradColumns = 16;

// The products of one tile and `lanes` channels after the transform of the tile's columns. row()
// applies the transform of a row.
template <size_t kTile, class Vector = Floats>
struct HalfOutput {
  static constexpr size_t kSide = Transform<kTile>::kSide;
  Vector half[kTile][kSide];

  [[gnu::always_inline]] HalfOutput(const typename Vector::value_type* products,
                                    size_t component_stride, size_t lanes) {
#pragma GCC unroll 6
    for (size_t x = 0; x < kSide; ++x) {
      Vector m[kSide], y[kTile];
#pragma GCC unroll 6
      for (size_t i = 0; i < kSide; ++i)
        m[i] = load_partial(products + (i * kSide + x) * component_stride, lanes);
      Transform<kTile>::output(m, y);
#pragma GCC unroll 6
      for (size_t i = 0; i < kTile; ++i) half[i][x] = y[i];
    }
  }
  [[gnu::always_inline]] void row(size_t i, Vector (&y)[kTile]) const {
    Transform<kTile>::output(half[i], y);
  }
};

// The mean of 2 x 2, added in average_pool's order.
inline Floats mean_of(Floats a, Floats b, Floats c, Floats d) {
  return (((a + b) + c) + d) * Floats(0.25f);
}

// The place of a tile's pixels in the output, which with pooling has half the width and height.
struct TilePixels {
  size_t row_pixels;  // pixels of a row of the output
  size_t first;       // the number of the tile's first pixel
  TilePixels(const WinogradOutputArgs& args, TilePlace place) {
    const size_t window = args.pooled ? 2 : 1;
    row_pixels = args.width / window;
    first = place.y / window * row_pixels + place.x / window;
  }
};

// Transforms one tile's products of up to kWinogradColumns columns to output pixels.
template <size_t kTile>
void transform_output(const float* products, size_t component_stride, TilePlace place,
                      const WinogradOutputArgs& args, const Output& out) {
  constexpr size_t kRowStride = kTile * kWinogradColumns;
  alignas(64) float sums[kTile * kRowStride];
  const size_t columns = min_size(kWinogradColumns, out.columns);
  for (size_t lane = 0; lane < columns; lane += kLanes) {
    const HalfOutput<kTile> half(products + lane, component_stride,
                                 min_size(kLanes, columns - lane));
#pragma GCC unroll 6
    for (size_t i = 0; i < kTile; ++i) {
      Floats y[kTile];
      half.row(i, y);
#pragma GCC unroll 6
      for (size_t x = 0; x < kTile; ++x)
        y[x].store_aligned(sums + i * kRowStride + x * kWinogradColumns + lane);
    }
  }
  const TilePixels to(args, place);
  const size_t rows = min_size(kTile, args.height - place.y);
  const size_t pixels = min_size(kTile, args.width - place.x);
  if (args.pooled) {
    finish_spilled(sums, kWinogradColumns, kTile * kTile, kWinogradColumns,
                   {sums, kWinogradColumns, columns, out.epilogue});
    average_pool({.input = sums,
                  .input_row_stride = kRowStride,
                  .input_pixel_stride = kWinogradColumns,
                  .height = rows,
                  .width = pixels,
                  .channels = columns,
                  .window = 2,
                  .stride = 2,
                  .padding = 0,
                  .output = part_of(out, to.first, 0).c,
                  .output_row_stride = to.row_pixels * out.stride,
                  .output_pixel_stride = out.stride,
                  .output_width = pixels / 2,
                  .first_row = 0,
                  .rows = rows / 2});
    return;
  }
  for (size_t i = 0; i < rows; ++i) {
    finish_spilled(sums + i * kRowStride, kWinogradColumns, pixels, kWinogradColumns,
                   part_of(out, to.first + i * to.row_pixels, 0));
  }
}

// The same for tiles that are inside the picture, whole vectors and an epilogue with a bias, which
// is applied in registers. `out` begins at the tile's first pixel; the first pixel of the tile's
// next row is row_pixels further.
template <size_t kTile, Activation kActivation, ResidualPlace kResidual, bool kPooled>
void transform_whole(const float* products, size_t component_stride, size_t row_pixels,
                     const Output& out) {
  const Epilogue epilogue = out.epilogue;
  for (size_t column = 0; column < out.columns; column += kLanes) {
    const HalfOutput<kTile> half(products + column, component_stride, kLanes);
    const Floats bias = load(epilogue.bias + column);
    Floats above[kTile];
#pragma GCC unroll 6
    for (size_t i = 0; i < kTile; ++i) {
      Floats y[kTile];
      half.row(i, y);
#pragma GCC unroll 6
      for (size_t x = 0; x < kTile; ++x) {
        const size_t pixel = i * row_pixels + x;
        y[x] = activate_value(y[x] + bias, kActivation);
        if (kResidual == ResidualPlace::kAfterActivation)
          y[x] += load(epilogue.residual + pixel * epilogue.residual_stride + column);
        if (!kPooled) {
          store(out.c + pixel * out.stride + column, y[x]);
        } else if (i % 2 == 0) {
          above[x] = y[x];
        } else if (x % 2 == 1) {
          store(out.c + (i / 2 * row_pixels + x / 2) * out.stride + column,
                mean_of(above[x - 1], above[x], y[x - 1], y[x]));
        }
      }
    }
  }
}

// Returns the instance of transform_whole for an epilogue, or null if none is compiled or vectors
// are not whole. There are instances for no activation, ReLU, SiLU, and SiLU before a residual.
template <size_t kTile>
auto whole_transform(const WinogradOutputArgs& args)
    -> decltype(&transform_whole<kTile, Activation::kNone, ResidualPlace::kNone, false>) {
  const Epilogue& epilogue = args.epilogue;
  if (epilogue.bias == nullptr || args.columns % kLanes != 0) return nullptr;
  if (epilogue.residual != nullptr) {
    const bool is_silu_before = epilogue.activation == Activation::kSilu && epilogue.residual_after;
    return is_silu_before
               ? transform_whole<kTile, Activation::kSilu, ResidualPlace::kAfterActivation, false>
               : nullptr;
  }
  const auto with = [&]<Activation kActivation>() {
    return args.pooled ? transform_whole<kTile, kActivation, ResidualPlace::kNone, true>
                       : transform_whole<kTile, kActivation, ResidualPlace::kNone, false>;
  };
  switch (epilogue.activation) {
    case Activation::kNone:
      return with.template operator()<Activation::kNone>();
    case Activation::kRelu:
      return with.template operator()<Activation::kRelu>();
    case Activation::kSilu:
      return with.template operator()<Activation::kSilu>();
    default:
      return nullptr;
  }
}

template <size_t kTile>
void winograd_output_with(const WinogradOutputArgs& args) {
  const size_t across = (args.width + kTile - 1) / kTile;
  const Output all = {args.output, args.output_pixel_stride, args.columns, args.epilogue};
  const auto transform = whole_transform<kTile>(args);
  for (size_t i = 0; i < args.tiles; ++i) {
    const TilePlace place(args.first_tile + i, across, kTile);
    const float* products = args.input + i * args.tile_stride;
    const bool whole = place.y + kTile <= args.height && place.x + kTile <= args.width;
    if (whole && transform != nullptr) {
      const TilePixels to(args, place);
      transform(products, args.component_stride, to.row_pixels, part_of(all, to.first, 0));
      continue;
    }
    for (size_t column = 0; column < args.columns; column += kWinogradColumns) {
      transform_output<kTile>(products + column, args.component_stride, place, args,
                              part_of(all, 0, column));
    }
  }
}

void winograd_output(const WinogradOutputArgs& args) {
  args.tile == 2 ? winograd_output_with<2>(args) : winograd_output_with<4>(args);
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_WINOGRAD_INL_
