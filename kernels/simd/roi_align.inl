#ifndef LIGHTCAP_KERNELS_SIMD_ROI_ALIGN_INL_
#define LIGHTCAP_KERNELS_SIMD_ROI_ALIGN_INL_

#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// Computes the weight of each of `size` cells in the mean over output_size * sampling_ratio samples
// along one side of the box, from `begin` to `end`, in cells. Samples more than one cell outside
// the grid count as zero; those nearer take the border's value.
inline void side_weights(float begin, float end, size_t size, size_t output_size,
                         size_t sampling_ratio, float* weights) {
  for (size_t i = 0; i < size; ++i) weights[i] = 0;
  const float start = begin - 0.5f;
  const float bin = (end - begin) / static_cast<float>(output_size);
  const float share = 1.0f / static_cast<float>(output_size * sampling_ratio);
  for (size_t p = 0; p < output_size; ++p) {
    for (size_t s = 0; s < sampling_ratio; ++s) {
      float at = start + static_cast<float>(p) * bin +
                 (static_cast<float>(s) + 0.5f) * bin / static_cast<float>(sampling_ratio);
      if (!(at >= -1.0f && at <= static_cast<float>(size))) continue;
      if (at < 0.0f) at = 0.0f;
      const size_t low = static_cast<size_t>(at);
      if (low >= size - 1) {
        weights[size - 1] += share;
        continue;
      }
      const float above = at - static_cast<float>(low);
      weights[low] += share * (1.0f - above);
      weights[low + 1] += share * above;
    }
  }
}

void roi_align(const RoiAlignArgs& args) {
  float weights[kMaxRoiSide];
  float* rows = weights;
  float* columns = weights + args.height;
  side_weights(args.y1, args.y2, args.height, args.output_size, args.sampling_ratio, rows);
  side_weights(args.x1, args.x2, args.width, args.output_size, args.sampling_ratio, columns);
  for (size_t c = 0; c < args.channels; c += kLanes) {
    const size_t lanes = min_size(kLanes, args.channels - c);
    Floats sum(0.0f);
    for (size_t y = 0; y < args.height; ++y) {
      if (rows[y] == 0.0f) continue;
      for (size_t x = 0; x < args.width; ++x) {
        const float weight = rows[y] * columns[x];
        if (weight == 0.0f) continue;
        const float* cell = args.features + y * args.row_stride + x * args.pixel_stride + c;
        sum = multiply_add(Floats(weight), load_partial(cell, lanes), sum);
      }
    }
    store_partial(args.output + c, sum, lanes);
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_ROI_ALIGN_INL_
