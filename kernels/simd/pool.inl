#ifndef LIGHTCAP_KERNELS_SIMD_POOL_INL_
#define LIGHTCAP_KERNELS_SIMD_POOL_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// Combines the window's pixels inside the image by combine(accumulated, next) and writes
// finish(accumulated). kWindow is the window's side where it is known at compile time, so that
// loops unroll, or 0.
template <size_t kWindow, class Combine, class Finish>
[[gnu::always_inline]] inline void pool(const PoolArgs& args, float start, Combine combine,
                                        Finish finish) {
  for (size_t oy = args.first_row; oy < args.first_row + args.rows; ++oy) {
    for (size_t ox = 0; ox < args.output_width; ++ox) {
      // The window clipped to the image.
      const size_t top = oy * args.stride, left = ox * args.stride;
      const size_t y_begin = top < args.padding ? 0 : top - args.padding;
      const size_t x_begin = left < args.padding ? 0 : left - args.padding;
      const size_t height =
          min_size(top + args.window - min_size(args.padding, top + args.window), args.height) -
          y_begin;
      const size_t width =
          min_size(left + args.window - min_size(args.padding, left + args.window), args.width) -
          x_begin;
      const float* input =
          args.input + y_begin * args.input_row_stride + x_begin * args.input_pixel_stride;
      float* output = args.output + oy * args.output_row_stride + ox * args.output_pixel_stride;
      const auto pixel = [&](size_t y, size_t x) {
        return input + y * args.input_row_stride + x * args.input_pixel_stride;
      };
      size_t c = 0;
      if (kWindow != 0 && height == kWindow && width == kWindow) {
        for (; c + kLanes <= args.channels; c += kLanes) {
          Floats value(start);
#pragma GCC unroll 8
          for (size_t y = 0; y < kWindow; ++y) {
#pragma GCC unroll 8
            for (size_t x = 0; x < kWindow; ++x) value = combine(value, load(pixel(y, x) + c));
          }
          store(output + c, finish(value));
        }
      }
      for (; c < args.channels; c += kLanes) {
        const size_t lanes = min_size(kLanes, args.channels - c);
        Floats value(start);
        for (size_t y = 0; y < height; ++y) {
          for (size_t x = 0; x < width; ++x)
            value = combine(value, load_partial(pixel(y, x) + c, lanes));
        }
        store_partial(output + c, finish(value), lanes);
      }
    }
  }
}

void average_pool(const PoolArgs& args) {
  const Floats share(1.0f / static_cast<float>(args.window * args.window));
  const auto add = [](Floats sum, Floats x) { return sum + x; };
  const auto mean = [&](Floats sum) { return sum * share; };
  args.window == 2 ? pool<2>(args, 0.0f, add, mean) : pool<0>(args, 0.0f, add, mean);
}

void max_pool(const PoolArgs& args) {
  const auto larger = [](Floats top, Floats x) { return Primitives::max(top, x); };
  const auto same = [](Floats top) { return top; };
  constexpr float kLeast = -__builtin_huge_valf();
  args.window == 5 ? pool<5>(args, kLeast, larger, same) : pool<0>(args, kLeast, larger, same);
}

void upsample(const UpsampleArgs& args) {
  for (size_t y = 0; y < args.rows; ++y) {
    for (size_t x = 0; x < args.width; ++x) {
      const float* input = args.input + y * args.input_row_stride + x * args.input_pixel_stride;
      float* upper =
          args.output + 2 * y * args.output_row_stride + 2 * x * args.output_pixel_stride;
      float* lower = upper + args.output_row_stride;
      for (size_t c = 0; c < args.channels; c += kLanes) {
        const size_t lanes = min_size(kLanes, args.channels - c);
        const Floats value = load_partial(input + c, lanes);
        store_partial(upper + c, value, lanes);
        store_partial(upper + args.output_pixel_stride + c, value, lanes);
        store_partial(lower + c, value, lanes);
        store_partial(lower + args.output_pixel_stride + c, value, lanes);
      }
    }
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_POOL_INL_
