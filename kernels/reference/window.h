// The pixels that a window over a picture reads, for convolutions and pools of any element.
#ifndef LIGHTCAP_KERNELS_REFERENCE_WINDOW_H_
#define LIGHTCAP_KERNELS_REFERENCE_WINDOW_H_

#include <cstddef>

namespace lightcap::internal::reference {

// The input pixel under place (wy, wx) of the window of output (oy, ox); null where that lies in
// the padding. Args are those of a convolution or a pool.
template <class Args>
auto window_pixel(const Args& args, size_t oy, size_t ox, size_t wy, size_t wx)
    -> decltype(args.input) {
  // A place above or left of the picture wraps around to a number larger than any side.
  const size_t y = oy * args.stride + wy - args.padding;
  const size_t x = ox * args.stride + wx - args.padding;
  if (y >= args.height || x >= args.width) return nullptr;
  return args.input + y * args.input_row_stride + x * args.input_pixel_stride;
}

}  // namespace lightcap::internal::reference

#endif  // LIGHTCAP_KERNELS_REFERENCE_WINDOW_H_
