#include <algorithm>
#include <limits>

#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

namespace {

template <bool average>
double pooled(const PoolArgs& args, size_t oy, size_t ox, size_t channel) {
  double value = average ? 0 : -std::numeric_limits<double>::infinity();
  for (size_t wy = 0; wy < args.window; ++wy) {
    for (size_t wx = 0; wx < args.window; ++wx) {
      const auto y =
          static_cast<ptrdiff_t>(oy * args.stride + wy) - static_cast<ptrdiff_t>(args.padding);
      const auto x =
          static_cast<ptrdiff_t>(ox * args.stride + wx) - static_cast<ptrdiff_t>(args.padding);
      if (y < 0 || x < 0 || y >= static_cast<ptrdiff_t>(args.height) ||
          x >= static_cast<ptrdiff_t>(args.width)) {
        continue;
      }
      const auto next = static_cast<double>(
          args.input[static_cast<size_t>(y) * args.input_row_stride +
                     static_cast<size_t>(x) * args.input_pixel_stride + channel]);
      value = average ? value + next : std::max(value, next);
    }
  }
  return average ? value / static_cast<double>(args.window * args.window) : value;
}

template <bool average>
void pool(const PoolArgs& args) {
  for (size_t y = args.first_row; y < args.first_row + args.rows; ++y) {
    for (size_t x = 0; x < args.output_width; ++x) {
      for (size_t c = 0; c < args.channels; ++c) {
        args.output[y * args.output_row_stride + x * args.output_pixel_stride + c] =
            static_cast<float>(pooled<average>(args, y, x, c));
      }
    }
  }
}

}  // namespace

void average_pool(const PoolArgs& args) { pool<true>(args); }
void max_pool(const PoolArgs& args) { pool<false>(args); }

void upsample(const UpsampleArgs& args) {
  for (size_t y = 0; y < 2 * args.rows; ++y) {
    for (size_t x = 0; x < 2 * args.width; ++x) {
      for (size_t c = 0; c < args.channels; ++c) {
        args.output[y * args.output_row_stride + x * args.output_pixel_stride + c] =
            args.input[y / 2 * args.input_row_stride + x / 2 * args.input_pixel_stride + c];
      }
    }
  }
}

}  // namespace lightcap::internal::reference
