#include <algorithm>

#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

namespace {

// Bilinear between cell centres, as torchvision does it: zero more than a cell outside, else the
// border.
double sample(const RoiAlignArgs& args, double y, double x, size_t channel) {
  const auto height = static_cast<double>(args.height), width = static_cast<double>(args.width);
  if (y < -1 || y > height || x < -1 || x > width) return 0;
  y = std::clamp(y, 0.0, height - 1);
  x = std::clamp(x, 0.0, width - 1);
  const auto top = static_cast<size_t>(y), left = static_cast<size_t>(x);
  const size_t bottom = std::min(top + 1, args.height - 1),
               right = std::min(left + 1, args.width - 1);
  const double down = y - static_cast<double>(top), across = x - static_cast<double>(left);
  const auto at = [&](size_t row, size_t column) {
    return static_cast<double>(
        args.features[row * args.row_stride + column * args.pixel_stride + channel]);
  };
  return (1 - down) * ((1 - across) * at(top, left) + across * at(top, right)) +
         down * ((1 - across) * at(bottom, left) + across * at(bottom, right));
}

}  // namespace

// The long way: every sample of every bin.
void roi_align(const RoiAlignArgs& args) {
  const auto bins = static_cast<double>(args.output_size),
             samples = static_cast<double>(args.sampling_ratio);
  const double x1 = static_cast<double>(args.x1), y1 = static_cast<double>(args.y1);
  const double bin_width = (static_cast<double>(args.x2) - x1) / bins;
  const double bin_height = (static_cast<double>(args.y2) - y1) / bins;
  for (size_t c = 0; c < args.channels; ++c) {
    double total = 0;
    for (size_t by = 0; by < args.output_size; ++by) {
      for (size_t bx = 0; bx < args.output_size; ++bx) {
        for (size_t sy = 0; sy < args.sampling_ratio; ++sy) {
          for (size_t sx = 0; sx < args.sampling_ratio; ++sx) {
            const double y =
                y1 - 0.5 +
                bin_height * (static_cast<double>(by) + (static_cast<double>(sy) + 0.5) / samples);
            const double x =
                x1 - 0.5 +
                bin_width * (static_cast<double>(bx) + (static_cast<double>(sx) + 0.5) / samples);
            total += sample(args, y, x, c);
          }
        }
      }
    }
    args.output[c] = static_cast<float>(total / (bins * bins * samples * samples));
  }
}

}  // namespace lightcap::internal::reference
