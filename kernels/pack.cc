#include "kernels/pack.h"

#include <cstring>

namespace lightcap::internal {

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

namespace {

// A panel's row: the 16 outputs' weights of one tap and channel.
using Row = double[kPanelWidth];

// Transforms 3 taps g along one axis to tile + 2 components u, for 16 outputs side by side.

void transform_taps(size_t tile, const Row* g, Row* u) {
  const auto at_point = [&](double point, double scale, Row& positive, Row& negative) {
    for (size_t lane = 0; lane < kPanelWidth; ++lane) {
      const double even = scale * (g[0][lane] + point * point * g[2][lane]);
      const double odd = scale * point * g[1][lane];
      positive[lane] = even + odd;
      negative[lane] = even - odd;
    }
  };
  // The scales are one over the product of a point's distances to the other points.
  constexpr double kInner = kWinogradInnerPoint * kWinogradInnerPoint;
  constexpr double kOuter = kWinogradOuterPoint * kWinogradOuterPoint;
  if (tile == 2) {
    at_point(1, 0.5, u[1], u[2]);
  } else {
    at_point(kWinogradInnerPoint, 1 / (2 * kInner * (kInner - kOuter)), u[1], u[2]);
    at_point(kWinogradOuterPoint, 1 / (2 * kOuter * (kOuter - kInner)), u[3], u[4]);
  }
  const double zero_scale = tile == 2 ? 1 : 1 / (kInner * kOuter);
  for (size_t lane = 0; lane < kPanelWidth; ++lane) {
    u[0][lane] = zero_scale * g[0][lane];
    u[tile + 1][lane] = g[2][lane];
  }
}

}  // namespace

void pack_winograd_panels(const WinogradPanels& args, size_t first_panel, size_t panels) {
  constexpr size_t kMaxSide = 6;
  const size_t side = args.tile + 2;
  const size_t channels = args.weights.depth / 9;
  const size_t end = (first_panel + panels) * channels;
  for (size_t row = first_panel * channels; row < end; ++row) {
    const size_t first_tap = row / channels * 9 * channels + row % channels;
    Row half[3][kMaxSide];  // the rows of taps are transformed, the columns not yet
    for (size_t ky = 0; ky < 3; ++ky) {
      Row g[3];
      for (size_t kx = 0; kx < 3; ++kx) {
        const size_t first = (first_tap + (ky * 3 + kx) * channels) * kPanelWidth;
        for (size_t lane = 0; lane < kPanelWidth; ++lane)
          g[kx][lane] = double{widened(args.weights.data, args.weights.type, first + lane)};
      }
      transform_taps(args.tile, g, half[ky]);
    }
    for (size_t j = 0; j < side; ++j) {
      Row g[3], u[kMaxSide];
      for (size_t ky = 0; ky < 3; ++ky)
        for (size_t lane = 0; lane < kPanelWidth; ++lane) g[ky][lane] = half[ky][j][lane];
      transform_taps(args.tile, g, u);
      for (size_t i = 0; i < side; ++i) {
        float* out = args.output + (i * side + j) * args.component_stride + row * kPanelWidth;
        for (size_t lane = 0; lane < kPanelWidth; ++lane)
          out[lane] = static_cast<float>(u[i][lane]);
      }
    }
  }
}

namespace {

// Transforms 3 taps along one axis, twice as large as transform_taps() does.
void double_transform(const int (&g)[3], int (&u)[4]) {
  u[0] = 2 * g[0];
  u[1] = g[0] + g[1] + g[2];
  u[2] = g[0] - g[1] + g[2];
  u[3] = 2 * g[2];
}

}  // namespace

void pack_integer_winograd_panels(const IntegerWinogradPanels& args, size_t first_panel,
                                  size_t panels) {
  const auto* weights = static_cast<const int8_t*>(args.weights.data);
  const size_t depth = args.weights.depth, channels = depth / 9;
  for (size_t output = first_panel * kPanelWidth; output < (first_panel + panels) * kPanelWidth;
       ++output) {
    for (size_t channel = 0; channel < channels; ++channel) {
      int half[4][3];  // the rows of taps are transformed, the columns not yet
      for (size_t ky = 0; ky < 3; ++ky) {
        int g[3], u[4];
        for (size_t kx = 0; kx < 3; ++kx)
          g[kx] = weights[quad_panel_index(output, (ky * 3 + kx) * channels + channel, depth)];
        double_transform(g, u);
        for (size_t j = 0; j < 4; ++j) half[j][ky] = u[j];
      }
      const size_t pair = output / kPanelWidth * (channels / kPair) + channel / kPair;
      int16_t* out =
          args.output + (pair * kPanelWidth + output % kPanelWidth) * kPair + channel % kPair;
      for (size_t j = 0; j < 4; ++j) {
        int u[4];
        double_transform(half[j], u);
        for (size_t i = 0; i < 4; ++i)
          out[(i * 4 + j) * args.component_stride] = static_cast<int16_t>(u[i]);
      }
    }
  }
}

void unpack_row(const PackedMatrix& weights, size_t output, float* out) {
  if (weights.type == DataType::kI8) {
    const auto* panels = static_cast<const int8_t*>(weights.data);
    for (size_t k = 0; k < weights.depth; ++k) {
      out[k] = weights.scales[output] *
               static_cast<float>(panels[quad_panel_index(output, k, weights.depth)]);
    }
    return;
  }
  const size_t first = output / kPanelWidth * weights.depth * kPanelWidth + output % kPanelWidth;
  for (size_t k = 0; k < weights.depth; ++k)
    out[k] = widened(weights.data, weights.type, first + k * kPanelWidth);
}

void pack_quad_panels(const int8_t* weights, size_t outputs, size_t channels, size_t taps,
                      int8_t* panels) {
  const size_t depth = taps * channels;
  std::memset(panels, 0, panel_elements(outputs, depth, DataType::kI8));
  for (size_t output = 0; output < outputs; ++output) {
    for (size_t channel = 0; channel < channels; ++channel) {
      for (size_t tap = 0; tap < taps; ++tap) {
        panels[quad_panel_index(output, tap * channels + channel, depth)] =
            weights[(output * channels + channel) * taps + tap];
      }
    }
  }
}

}  // namespace lightcap::internal
