#ifndef LIGHTCAP_KERNELS_SIMD_CONV_INL_
#define LIGHTCAP_KERNELS_SIMD_CONV_INL_

#include "kernels/simd/gemm.inl"

namespace lightcap {
namespace {

// What taps outside the image read. Channels come in runs of at most this many.
constexpr size_t kRunLength = 256;
alignas(64) constexpr float kZeros[kRunLength] = {};

// A convolution whose taps read `length` contiguous floats each.
struct Taps {
  size_t height, width, length;
};

// Pixels that touch a padding of 0 and lie densely make a row of taps one run: for a stem over 3
// channels the difference between runs of 3 and of 9 or 18 floats.
inline Taps taps_of(const ConvArgs& args) {
  const bool inside =
      args.padding == 0 && (args.output_width - 1) * args.stride + args.kernel_width <= args.width;
  if (inside && args.input_pixel_stride == args.channels) {
    return {args.kernel_height, 1, args.kernel_width * args.channels};
  }
  return {args.kernel_height, args.kernel_width, args.channels};
}

// Where tap (ky, kx) of output pixel (y, x) reads, or null outside the image.
inline const float* tap_at(const ConvArgs& args, size_t y, size_t x, size_t ky, size_t kx) {
  // Unsigned: what lies above or left of the image wraps around and is too large as well.
  const size_t row = y * args.stride + ky - args.padding;
  const size_t column = x * args.stride + kx - args.padding;
  if (row >= args.height || column >= args.width) return nullptr;
  return args.input + row * args.input_row_stride + column * args.input_pixel_stride;
}

// One tile: the accumulators stay in registers while taps and channels pass by.
template <size_t kRows, size_t kPanels>
void conv_tile(const ConvArgs& args, const Taps& taps, size_t first_pixel, const float* panels,
               size_t panel_stride, const Output& out) {
  Floats acc[kRows][kPanels * kPanelVectors];
  clear(acc);
  size_t ys[kRows], xs[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    ys[r] = (first_pixel + r) / args.output_width;
    xs[r] = (first_pixel + r) % args.output_width;
  }
  for (size_t ky = 0; ky < taps.height; ++ky) {
    for (size_t kx = 0; kx < taps.width; ++kx) {
      const float* base[kRows];
      for (size_t r = 0; r < kRows; ++r) base[r] = tap_at(args, ys[r], xs[r], ky, kx);
      for (size_t done = 0; done < taps.length; done += kRunLength) {
        const size_t length = min_size(kRunLength, taps.length - done);
        const float* rows[kRows];
        for (size_t r = 0; r < kRows; ++r) rows[r] = base[r] == nullptr ? kZeros : base[r] + done;
        multiply<kRows, kPanels, false>(rows, length, panels, panel_stride, 0, acc);
        panels += length * kPanelWidth;
      }
    }
  }
  finish_tile(acc, out);
}

using ConvTileFunction = void (*)(const ConvArgs& args, const Taps& taps, size_t first_pixel,
                                  const float* panels, size_t panel_stride, const Output& out);

struct ConvTileSet {
  ConvTileFunction wide[kTileRows + 1];
  ConvTileFunction narrow[kTileRows + 1];
};

template <size_t kRows>
constexpr void fill_conv_tile_set(ConvTileSet& set) {
  set.wide[kRows] = conv_tile<kRows, kTilePanels>;
  set.narrow[kRows] = conv_tile<kRows, 1>;
  if constexpr (kRows > 1) fill_conv_tile_set<kRows - 1>(set);
}

constexpr ConvTileSet make_conv_tile_set() {
  ConvTileSet set = {};
  fill_conv_tile_set<kTileRows>(set);
  return set;
}

constexpr ConvTileSet kConvTiles = make_conv_tile_set();

void conv(const ConvArgs& args) {
  if (args.pixels == 0 || args.columns == 0) return;
  const Taps taps = taps_of(args);
  const size_t panels = (args.columns + kPanelWidth - 1) / kPanelWidth;
  const size_t panel_stride = args.kernel_height * args.kernel_width * args.channels * kPanelWidth;
  const RowTiles tiles(args.pixels);
  for (size_t panel = 0; panel < panels;) {
    const size_t step = panel + kTilePanels <= panels ? kTilePanels : 1;
    const size_t column = panel * kPanelWidth;
    for (size_t t = 0; t < tiles.tiles; ++t) {
      const size_t pixel = args.first_pixel + tiles.begin(t);
      const size_t rows = tiles.begin(t + 1) - tiles.begin(t);
      Output out = {args.output + pixel * args.output_pixel_stride + column,
                    args.output_pixel_stride, args.columns - column, args.epilogue};
      if (out.epilogue.bias != nullptr) out.epilogue.bias += column;
      if (out.epilogue.residual != nullptr) {
        out.epilogue.residual += pixel * out.epilogue.residual_stride + column;
      }
      const auto& set = step == kTilePanels ? kConvTiles.wide : kConvTiles.narrow;
      set[rows](args, taps, pixel, args.panels + panel * panel_stride, panel_stride, out);
    }
    panel += step;
  }
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_CONV_INL_
