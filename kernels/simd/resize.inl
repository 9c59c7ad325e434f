#ifndef LIGHTCAP_KERNELS_SIMD_RESIZE_INL_
#define LIGHTCAP_KERNELS_SIMD_RESIZE_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// The compilers' own vector types: xsimd 8 multiplies integers one by one on SSE2.
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

using Pixel = int32_t __attribute__((vector_size(4 * sizeof(int32_t))));

template <class Vector>
inline Vector load_integers(const int32_t* p) {
  Vector x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

// About four windows read each pixel. It is unpacked once, to four integers of which the last is 0,
// so that a vector holds whole pixels: one on SSE2 and NEON, four on AVX-512. All windows have the
// same length, so that the branch predictor foresees where each ends.
void resize_row(const ResizeRowArgs& args) {
  constexpr size_t kPixels = kLanes / 4;
  const size_t first = args.begins[0];
  const size_t end = args.begins[args.size - 1] + args.window;
  const size_t inside = min_size(end, args.pixels);
  int32_t* const unpacked = args.unpacked;
  // uint8_t is a character type and may alias anything: each store to `out` would make the compiler
  // load the fields of `args` again. The loop uses these copies.
  const uint32_t* begins = args.begins;
  const int32_t* weights = args.weights;
  const size_t window = 4 * args.window, size = args.size;
  uint8_t* out = args.out;
  int32_t* to = unpacked;
  for (size_t i = first; i < inside; ++i, to += 4) {
    for (size_t c = 0; c < 3; ++c) to[c] = args.row[3 * i + c];
    to[3] = 0;
  }
  for (size_t i = 4 * inside; i < 4 * end; ++i) *to++ = 0;
  for (size_t x = 0; x < size; ++x, weights += window, out += 3) {
    const int32_t* pixels = unpacked + 4 * (begins[x] - first);
    Ints sum = {};
    for (size_t k = 0; k < window; k += kLanes)
      sum += load_integers<Ints>(pixels + k) * load_integers<Ints>(weights + k);
    int32_t lanes[kLanes];
    __builtin_memcpy(lanes, &sum, sizeof sum);
    Pixel value = load_integers<Pixel>(lanes) + (1 << (kResizeBits - 1));
    for (size_t i = 1; i < kPixels; ++i) value += load_integers<Pixel>(lanes + 4 * i);
    value >>= kResizeBits;
    value &= value > 0;
    value = (value & (value < 255)) | (255 & (value >= 255));
    for (size_t c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(value[c]);
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_RESIZE_INL_
