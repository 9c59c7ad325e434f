#ifndef LIGHTCAP_KERNELS_SIMD_BYTE_POOL_INL_
#define LIGHTCAP_KERNELS_SIMD_BYTE_POOL_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

void byte_average_pool(const BytePoolArgs& args) {
  for (size_t y = args.first_row; y < args.first_row + args.rows; ++y) {
    for (size_t x = 0; x < args.output_width; ++x) {
      const uint8_t* upper =
          args.input + 2 * y * args.input_row_stride + 2 * x * args.input_pixel_stride;
      const uint8_t* lower = upper + args.input_row_stride;
      uint8_t* output = args.output + y * args.output_row_stride + x * args.output_pixel_stride;
      const size_t next = args.input_pixel_stride;
      for (size_t c = 0; c < args.channels; ++c) {
        const int sum = upper[c] + upper[next + c] + lower[c] + lower[next + c];
        output[c] = static_cast<uint8_t>((sum + 2) >> 2);
      }
    }
  }
}

void byte_max_pool(const BytePoolArgs& args) {
  for (size_t oy = args.first_row; oy < args.first_row + args.rows; ++oy) {
    for (size_t ox = 0; ox < args.output_width; ++ox) {
      // The window clipped to the image.
      const size_t top = oy * args.stride, left = ox * args.stride;
      const size_t y_begin = top < args.padding ? 0 : top - args.padding;
      const size_t x_begin = left < args.padding ? 0 : left - args.padding;
      const size_t y_end =
          min_size(top + args.window - min_size(args.padding, top + args.window), args.height);
      const size_t x_end =
          min_size(left + args.window - min_size(args.padding, left + args.window), args.width);
      uint8_t* output = args.output + oy * args.output_row_stride + ox * args.output_pixel_stride;
      for (size_t c = 0; c < args.channels; ++c) {
        uint8_t most = 0;
        for (size_t y = y_begin; y < y_end; ++y) {
          for (size_t x = x_begin; x < x_end; ++x) {
            const uint8_t byte =
                args.input[y * args.input_row_stride + x * args.input_pixel_stride + c];
            most = byte > most ? byte : most;
          }
        }
        output[c] = most;
      }
    }
  }
}

void byte_upsample(const ByteUpsampleArgs& args) {
  for (size_t y = 0; y < args.rows; ++y) {
    for (size_t x = 0; x < args.width; ++x) {
      const uint8_t* input = args.input + y * args.input_row_stride + x * args.input_pixel_stride;
      uint8_t* upper =
          args.output + 2 * y * args.output_row_stride + 2 * x * args.output_pixel_stride;
      uint8_t* lower = upper + args.output_row_stride;
      for (size_t c = 0; c < args.channels; ++c) {
        upper[c] = upper[args.output_pixel_stride + c] = input[c];
        lower[c] = lower[args.output_pixel_stride + c] = input[c];
      }
    }
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_BYTE_POOL_INL_
