// Winograd's transform of weights, for layers whose transformed weights are not kept. pack.cc has
// it for those that are.
#ifndef LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_
#define LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_

#include "kernels/simd/primitives.inl"
#include "kernels/simd/widen.inl"

namespace lightcap::internal {
namespace {

// G g along one axis, u[1] and u[2] twice as large: their scales are left to the end.
[[gnu::always_inline]] inline void winograd_taps(Doubles g0, Doubles g1, Doubles g2,
                                                 Doubles (&u)[4]) {
  const Doubles even = g0 + g2;
  u[0] = g0;
  u[1] = even + g1;
  u[2] = even - g1;
  u[3] = g2;
}

// One vector of outputs of one channel; taps are tap_stride apart. Scales are powers of two, so
// that it does not matter to the rounding where they are multiplied with.
template <class Weight>
[[gnu::always_inline]] inline void transform_weights(const Weight* taps, size_t tap_stride,
                                                     float* out, size_t component_stride) {
  Doubles lines[2][3][4];  // [2] are the halves of a vector, [3] the lines of taps, transformed
#pragma GCC unroll 3
  for (size_t ky = 0; ky < 3; ++ky) {
    Doubles g[3][2];
#pragma GCC unroll 3
    for (size_t kx = 0; kx < 3; ++kx) {
      const Floats tap = load_weights(taps + (ky * 3 + kx) * tap_stride);
      Primitives::widen(tap, g[kx]);
      // The taps of the corners are components.
      if (ky != 1 && kx != 1) tap.store_aligned(out + (ky * 6 + kx / 2 * 3) * component_stride);
    }
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; ++half)
      winograd_taps(g[0][half], g[1][half], g[2][half], lines[half][ky]);
  }
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; ++j) {
    Doubles u[2][4];
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; ++half)
      winograd_taps(lines[half][0][j], lines[half][1][j], lines[half][2][j], u[half]);
    const bool is_outer_column = j == 0 || j == 3;
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const bool is_outer_row = i == 0 || i == 3;
      if (is_outer_row && is_outer_column) continue;
      const Doubles scale(is_outer_row || is_outer_column ? 0.5 : 0.25);
      Primitives::store_narrow(out + (i * 4 + j) * component_stride,
                               {scale * u[0][i], scale * u[1][i]});
    }
  }
}

void winograd_weights(const WinogradWeightsArgs& args) {
  const size_t depth = args.weights.depth, tap_stride = depth / 9 * kPanelWidth;
  with_panels(
      args.weights, [&]<class Weight>(const Weight* panels) __attribute__((always_inline)) {
        float* out = args.output;
        for (size_t panel = 0; panel < panel_count(args.weights.outputs); ++panel) {
          const Weight* taps = panels + panel * depth * kPanelWidth;
          for (size_t i = 0; i < tap_stride; i += kLanes, out += kLanes)
            transform_weights(taps + i, tap_stride, out, args.component_stride);
        }
      });
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_
