// Makes and reads panels, the one layout of weights for every instruction set (packed_matrix.h).
#ifndef LIGHTCAP_KERNELS_PACK_H_
#define LIGHTCAP_KERNELS_PACK_H_

#include <cstddef>

#include "kernels/packed_matrix.h"

namespace lightcap {

// weights [outputs][depth] row-major -> panels [ceil(outputs/16)][depth][16], missing outputs zero.
void pack_panels(const float* weights, size_t outputs, size_t depth, float* panels);

// A convolution's weights [outputs][channels][kernel_height][kernel_width], as PyTorch stores them,
// -> panels of depth kernel_height * kernel_width * channels, channels innermost.
void pack_conv_panels(const float* weights, size_t outputs, size_t channels, size_t kernel_height,
                      size_t kernel_width, float* panels);

// The points at which Winograd's transforms take their polynomials, beside 0 and infinity: +-1 for
// tiles of 2, these for tiles of 4. Their powers stay nearer to 1 than those of the customary +-1,
// +-2, which makes the rounding error smaller.
inline constexpr double kWinogradNear = 0.70710678118654752440;  // sqrt(1/2)
inline constexpr double kWinogradFar = 1.41421356237309504880;   // sqrt(2)

// A 3x3 convolution's weights, of depth 9 * channels, from panel first_panel on, -> Winograd's
// components G g G^T, [components] of fp32 panels [ceil(outputs/16)][channels][16],
// component_stride apart. Computed in double: each component is rounded once, to the same float
// whatever the instruction set of the kernels that will multiply with it.
struct WinogradPanels {
  PackedMatrix weights;
  size_t tile;
  float* output;
  size_t component_stride;
};
void pack_winograd_panels(const WinogradPanels& args, size_t first_panel, size_t panels);

// Row `output` of a matrix, widened: out[k] = weights[output][k], k < weights.depth. A gather: each
// element lies in a cache line of its own.
void unpack_row(const PackedMatrix& weights, size_t output, float* out);

}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_PACK_H_
