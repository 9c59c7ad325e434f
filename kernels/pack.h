// Panels: the one layout of weights for every instruction set. See kPanelWidth in kernels.h.
#ifndef LIGHTCAP_KERNELS_PACK_H_
#define LIGHTCAP_KERNELS_PACK_H_

#include <cstddef>

#include "kernels/kernels.h"

namespace lightcap {

constexpr size_t panel_count(size_t outputs) { return (outputs + kPanelWidth - 1) / kPanelWidth; }

// Floats that `outputs` x `depth` weights take as panels.
constexpr size_t panel_floats(size_t outputs, size_t depth) {
  return panel_count(outputs) * depth * kPanelWidth;
}

// weights [outputs][depth] row-major -> panels [ceil(outputs/16)][depth][16], missing outputs zero.
void pack_panels(const float* weights, size_t outputs, size_t depth, float* panels);

// A convolution's weights [outputs][channels][kernel_height][kernel_width], as PyTorch stores them, ->
// panels of depth kernel_height * kernel_width * channels, channels innermost.
void pack_conv_panels(const float* weights, size_t outputs, size_t channels, size_t kernel_height,
                      size_t kernel_width, float* panels);

// Row `output` of the weights: out[k] = panels[output / 16][k][output % 16], k < depth.
void unpack_row(const float* panels, size_t depth, size_t output, float* out);

}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_PACK_H_
