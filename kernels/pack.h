// Packs weights into panels and reads them back. Panels are the one layout of weights, for every
// instruction set (packed_matrix.h).
#ifndef LIGHTCAP_KERNELS_PACK_H_
#define LIGHTCAP_KERNELS_PACK_H_

#include <cstddef>

#include "kernels/packed_matrix.h"

namespace lightcap::internal {

// Packs weights [outputs][depth], row-major, into panels [ceil(outputs/16)][depth][16], with zeros
// for the last panel's missing outputs.
void pack_panels(const float* weights, size_t outputs, size_t depth, float* panels);

// Packs a convolution's weights [outputs][channels][kernel_height][kernel_width], as PyTorch stores
// them, into panels of depth kernel_height * kernel_width * channels, channels innermost.
void pack_conv_panels(const float* weights, size_t outputs, size_t channels, size_t kernel_height,
                      size_t kernel_width, float* panels);

// Winograd's transforms evaluate polynomials at 0, infinity and pairs of opposite points: +-1 for
// tiles of 2, and for tiles of 4 these two, inner and outer. Their powers stay nearer to 1 than
// those of the customary +-1 and +-2, which makes the rounding error smaller.
inline constexpr double kWinogradInnerPoint = 0.70710678118654752440;  // sqrt(1/2)
inline constexpr double kWinogradOuterPoint = 1.41421356237309504880;  // sqrt(2)

// Transforms `panels` panels of a 3x3 convolution's weights g, from first_panel on, to Winograd's
// components G g G^T. They are computed in double and rounded once, so they are the same floats
// whatever the instruction set of the kernels that will multiply with them.
struct WinogradPanels {
  PackedMatrix weights;  // of depth 9 * channels
  size_t tile;           // 2 or 4
  float* output;         // [components] of fp32 panels [ceil(outputs/16)][channels][16]
  size_t component_stride;
};
void pack_winograd_panels(const WinogradPanels& args, size_t first_panel, size_t panels);

// The same for int8 weights in tiles of 2, four times as large: those are integers, exactly.
struct IntegerWinogradPanels {
  PackedMatrix weights;  // int8, of depth 9 * channels; channels are a multiple of kQuad
  int16_t* output;       // [components] of panels of pairs [ceil(outputs/16)][channels/2][16][2]
  size_t component_stride;
};
void pack_integer_winograd_panels(const IntegerWinogradPanels& args, size_t first_panel,
                                  size_t panels);

// Packs int8 weights [outputs][channels][taps], row-major, into panels of quads (packed_matrix.h)
// of depth taps * channels, channels innermost. Missing outputs and the end of the last quad are
// zeros. `panels` has panel_elements(outputs, taps * channels, DataType::kI8) bytes.
void pack_quad_panels(const int8_t* weights, size_t outputs, size_t channels, size_t taps,
                      int8_t* panels);

// Reads row `output` of a matrix, widened, int8 weights times their scale: out[k] =
// weights[output][k], k < weights.depth. This is a gather: each fp32 element lies in a cache line
// of its own.
void unpack_row(const PackedMatrix& weights, size_t output, float* out);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_PACK_H_
