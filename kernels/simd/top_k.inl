#ifndef LIGHTCAP_KERNELS_SIMD_TOP_K_INL_
#define LIGHTCAP_KERNELS_SIMD_TOP_K_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// Keeps the k best so far in order. Most of x is below the k-th of them and is dismissed a vector
// at a time.
void top_k(const TopKArgs& args) {
  if (args.k == 0) return;
  constexpr float kLowest = -__builtin_huge_valf();
  for (size_t i = 0; i < args.k; ++i) {
    args.values[i] = kLowest;
    args.indices[i] = 0;
  }
  size_t kept = 0;
  for (size_t begin = 0; begin < args.count; begin += kLanes) {
    const size_t lanes = min_size(kLanes, args.count - begin);
    if (kept == args.k && lanes == kLanes &&
        !xsimd::any(load(args.x + begin) > Floats(args.values[args.k - 1]))) {
      continue;
    }
    for (size_t i = begin; i < begin + lanes; ++i) {
      const float value = args.x[i];
      if (!(value >= kLowest)) continue;  // NaN
      if (kept == args.k && !(value > args.values[args.k - 1])) continue;
      size_t place = kept < args.k ? kept++ : args.k - 1;
      for (; place > 0 && value > args.values[place - 1]; --place) {
        args.values[place] = args.values[place - 1];
        args.indices[place] = args.indices[place - 1];
      }
      args.values[place] = value;
      args.indices[place] = static_cast<uint32_t>(i);
    }
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_TOP_K_INL_
