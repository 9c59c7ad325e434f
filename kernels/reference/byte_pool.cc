#include <algorithm>

#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

namespace {

// Calls f(byte) for each pixel of a window that is inside the input.
template <class F>
void for_each_inside(const BytePoolArgs& args, size_t oy, size_t ox, size_t channel, const F& f) {
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
      f(args.input[static_cast<size_t>(y) * args.input_row_stride +
                   static_cast<size_t>(x) * args.input_pixel_stride + channel]);
    }
  }
}

// Calls f(output, y, x, channel) for each byte of the output.
template <class F>
void for_each_output(const BytePoolArgs& args, const F& f) {
  for (size_t y = args.first_row; y < args.first_row + args.rows; ++y) {
    for (size_t x = 0; x < args.output_width; ++x) {
      for (size_t c = 0; c < args.channels; ++c)
        f(args.output[y * args.output_row_stride + x * args.output_pixel_stride + c], y, x, c);
    }
  }
}

}  // namespace

void byte_average_pool(const BytePoolArgs& args) {
  for_each_output(args, [&](uint8_t& output, size_t y, size_t x, size_t c) {
    unsigned sum = 2;
    for_each_inside(args, y, x, c, [&](uint8_t byte) { sum += byte; });
    output = static_cast<uint8_t>(sum >> 2);
  });
}

void byte_max_pool(const BytePoolArgs& args) {
  for_each_output(args, [&](uint8_t& output, size_t y, size_t x, size_t c) {
    uint8_t top = 0;
    for_each_inside(args, y, x, c, [&](uint8_t byte) { top = std::max(top, byte); });
    output = top;
  });
}

void byte_upsample(const ByteUpsampleArgs& args) {
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
