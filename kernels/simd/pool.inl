#ifndef LIGHTCAP_KERNELS_SIMD_POOL_INL_
#define LIGHTCAP_KERNELS_SIMD_POOL_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap {
namespace {

// combine(accumulated, next) over the window's pixels inside the image, then finish(accumulated).
template <class Combine, class Finish>
[[gnu::always_inline]] inline void pool(const PoolArgs& args, float start, Combine combine,
                                        Finish finish) {
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
      float* output = args.output + oy * args.output_row_stride + ox * args.output_pixel_stride;
      for (size_t c = 0; c < args.channels; c += kLanes) {
        const size_t lanes = min_size(kLanes, args.channels - c);
        Floats value(start);
        for (size_t y = y_begin; y < y_end; ++y) {
          for (size_t x = x_begin; x < x_end; ++x) {
            value = combine(value, load_partial(args.input + y * args.input_row_stride +
                                                    x * args.input_pixel_stride + c,
                                                lanes));
          }
        }
        store_partial(output + c, finish(value), lanes);
      }
    }
  }
}

void average_pool(const PoolArgs& args) {
  const Floats share(1.0f / static_cast<float>(args.window * args.window));
  pool(
      args, 0.0f, [](Floats sum, Floats x) { return sum + x; },
      [&](Floats sum) { return sum * share; });
}

void max_pool(const PoolArgs& args) {
  pool(
      args, -__builtin_huge_valf(), [](Floats top, Floats x) { return xsimd::max(top, x); },
      [](Floats top) { return top; });
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
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_POOL_INL_
