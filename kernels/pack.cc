#include "kernels/pack.h"

namespace lightcap {

void pack_panels(const float* weights, size_t outputs, size_t depth, float* panels) {
  pack_conv_panels(weights, outputs, depth, 1, 1, panels);
}

void pack_conv_panels(const float* weights, size_t outputs, size_t channels, size_t kernel_height,
                      size_t kernel_width, float* panels) {
  const size_t taps = kernel_height * kernel_width;
  for (size_t panel = 0; panel < panel_count(outputs); ++panel) {
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t channel = 0; channel < channels; ++channel) {
        for (size_t lane = 0; lane < kPanelWidth; ++lane) {
          const size_t output = panel * kPanelWidth + lane;
          *panels++ = output < outputs ? weights[(output * channels + channel) * taps + tap] : 0.0f;
        }
      }
    }
  }
}

void unpack_row(const float* panels, size_t depth, size_t output, float* out) {
  const float* panel = panels + (output / kPanelWidth) * depth * kPanelWidth + output % kPanelWidth;
  for (size_t k = 0; k < depth; ++k) out[k] = panel[k * kPanelWidth];
}

}  // namespace lightcap
