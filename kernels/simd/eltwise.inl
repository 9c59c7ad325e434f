#ifndef LIGHTCAP_KERNELS_SIMD_ELTWISE_INL_
#define LIGHTCAP_KERNELS_SIMD_ELTWISE_INL_

#include "kernels/simd/activation.inl"
#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

void activate(const ActivateArgs& args) {
  for (size_t i = 0; i < args.count; i += kLanes) {
    const size_t count = min_size(kLanes, args.count - i);
    store_partial(args.y + i, activate_value(load_partial(args.x + i, count), args.activation),
                  count);
  }
}

void scale_columns(const ScaleColumnsArgs& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    for (size_t j = 0; j < args.columns; j += kLanes) {
      const size_t count = min_size(kLanes, args.columns - j);
      store_partial(y + j, load_partial(x + j, count) * load_partial(args.scale + j, count), count);
    }
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_ELTWISE_INL_
