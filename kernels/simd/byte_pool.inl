// Pooling and upsampling of bytes. Loops over blocks of constant size are the compiler's to
// vectorise: there is little arithmetic in them, and 64 bytes are a whole number of vectors
// everywhere.
#ifndef LIGHTCAP_KERNELS_SIMD_BYTE_POOL_INL_
#define LIGHTCAP_KERNELS_SIMD_BYTE_POOL_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

constexpr size_t kByteBlock = 64;

// Calls f(count, channel) for blocks of channels: `count` is a constant where a block is whole.
template <class F>
[[gnu::always_inline]] inline void for_each_block(size_t channels, const F& f) {
  size_t c = 0;
  for (; c + kByteBlock <= channels; c += kByteBlock) f(kByteBlock, c);
  for (; c + kByteBlock / 4 <= channels; c += kByteBlock / 4) f(kByteBlock / 4, c);
  if (c < channels) f(channels - c, c);
}

void byte_average_pool(const BytePoolArgs& args) {
  for (size_t y = args.first_row; y < args.first_row + args.rows; ++y) {
    for (size_t x = 0; x < args.output_width; ++x) {
      const uint8_t* upper =
          args.input + 2 * y * args.input_row_stride + 2 * x * args.input_pixel_stride;
      const uint8_t* lower = upper + args.input_row_stride;
      uint8_t* output = args.output + y * args.output_row_stride + x * args.output_pixel_stride;
      const size_t next = args.input_pixel_stride;
      for_each_block(
          args.channels, [&](size_t count, size_t c) __attribute__((always_inline)) {
            uint8_t means[kByteBlock];
            for (size_t i = 0; i < count; ++i) {
              const auto sum = static_cast<uint16_t>(upper[c + i] + upper[next + c + i] +
                                                     lower[c + i] + lower[next + c + i] + 2);
              means[i] = static_cast<uint8_t>(sum >> 2);
            }
            __builtin_memcpy(output + c, means, count);
          });
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
      for_each_block(
          args.channels, [&](size_t count, size_t c) __attribute__((always_inline)) {
            uint8_t most[kByteBlock] = {};
            for (size_t y = y_begin; y < y_end; ++y) {
              for (size_t x = x_begin; x < x_end; ++x) {
                const uint8_t* pixel =
                    args.input + y * args.input_row_stride + x * args.input_pixel_stride + c;
                for (size_t i = 0; i < count; ++i)
                  most[i] = pixel[i] > most[i] ? pixel[i] : most[i];
              }
            }
            __builtin_memcpy(output + c, most, count);
          });
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
      for_each_block(
          args.channels, [&](size_t count, size_t c) __attribute__((always_inline)) {
            uint8_t bytes[kByteBlock];
            __builtin_memcpy(bytes, input + c, count);
            __builtin_memcpy(upper + c, bytes, count);
            __builtin_memcpy(upper + args.output_pixel_stride + c, bytes, count);
            __builtin_memcpy(lower + c, bytes, count);
            __builtin_memcpy(lower + args.output_pixel_stride + c, bytes, count);
          });
    }
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_BYTE_POOL_INL_
