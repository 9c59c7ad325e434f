// Winograd's transform of weights, for layers whose transformed weights are not kept. pack.cc has
// it for those that are.
#ifndef LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_
#define LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_

#include "kernels/simd/primitives.inl"
#include "kernels/simd/widen.inl"

namespace lightcap::internal {
namespace {

// Row kRow of G g along one axis: g[0], (g[0] + g[2]) / 2 +- g[1] / 2 or g[2]. Halving is exact, so
// that a fused multiply-add rounds as the sum does.
template <size_t kRow>
inline Doubles winograd_taps(Doubles g0, Doubles g1, Doubles g2) {
  if (kRow == 0) return g0;
  if (kRow == 3) return g2;
  const Doubles half(0.5), even = half * (g0 + g2), odd = half * g1;
  return kRow == 1 ? even + odd : even - odd;
}

// One vector of outputs of one channel; taps are tap_stride apart.
template <size_t kRow, class Weight>
[[gnu::always_inline]] inline void transform_weights(const Weight* taps, size_t tap_stride,
                                                     float* out, size_t component_stride) {
  Doubles lines[3][4][2];  // each line of taps transformed; [2] are the halves of a vector
#pragma GCC unroll 3
  for (size_t ky = 0; ky < 3; ++ky) {
    if ((kRow == 0 && ky != 0) || (kRow == 3 && ky != 2)) continue;
    Doubles g[3][2];
#pragma GCC unroll 3
    for (size_t kx = 0; kx < 3; ++kx)
      Primitives::widen(load_weights(taps + (ky * 3 + kx) * tap_stride), g[kx]);
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; ++half) {
      lines[ky][0][half] = winograd_taps<0>(g[0][half], g[1][half], g[2][half]);
      lines[ky][1][half] = winograd_taps<1>(g[0][half], g[1][half], g[2][half]);
      lines[ky][2][half] = winograd_taps<2>(g[0][half], g[1][half], g[2][half]);
      lines[ky][3][half] = winograd_taps<3>(g[0][half], g[1][half], g[2][half]);
    }
  }
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; ++j) {
    const Doubles u[2] = {winograd_taps<kRow>(lines[0][j][0], lines[1][j][0], lines[2][j][0]),
                          winograd_taps<kRow>(lines[0][j][1], lines[1][j][1], lines[2][j][1])};
    Primitives::narrow(u).store_aligned(out + j * component_stride);
  }
}

template <size_t kRow, class Weight>
void transform_panels(const Weight* panels, const WinogradWeightsArgs& args) {
  const size_t channels = args.weights.depth / 9, tap_stride = channels * kPanelWidth;
  float* out = args.output;
  for (size_t panel = 0; panel < panel_count(args.weights.outputs); ++panel) {
    const Weight* taps = panels + panel * args.weights.depth * kPanelWidth;
    for (size_t i = 0; i < tap_stride; i += kLanes, out += kLanes)
      transform_weights<kRow>(taps + i, tap_stride, out, args.component_stride);
  }
}

void winograd_weights(const WinogradWeightsArgs& args) {
  with_panels(
      args.weights, [&]<class Weight>(const Weight* panels) __attribute__((always_inline)) {
        switch (args.row) {
          case 0:
            return transform_panels<0>(panels, args);
          case 1:
            return transform_panels<1>(panels, args);
          case 2:
            return transform_panels<2>(panels, args);
          default:
            return transform_panels<3>(panels, args);
        }
      });
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_
