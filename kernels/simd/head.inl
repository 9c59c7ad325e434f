#ifndef LIGHTCAP_KERNELS_SIMD_HEAD_INL_
#define LIGHTCAP_KERNELS_SIMD_HEAD_INL_

#include "kernels/simd/gemm.inl"
#include "kernels/simd/norm.inl"

namespace lightcap::internal {
namespace {

// The sum of exp(x[j] - max) over j < count.
inline float exp_sum_of(const float* x, size_t count, float max) {
  Floats sum(0.0f);
  for (size_t j = 0; j < count; j += kLanes) {
    const size_t lanes = min_size(kLanes, count - j);
    sum += first_lanes_or(exp_of_minus(max - load_partial(x + j, lanes)), lanes, 0.0f);
  }
  return sum_lanes(sum);
}

// The product reads each panel from memory once, for all rows. The chunk's logits are still in the
// cache when the second pass sums their exponentials.
void head_logits(const HeadLogitsArgs& args) {
  const size_t words = args.weights.outputs;
  gemm({.a = args.z,
        .a_stride = args.z_stride,
        .weights = args.weights,
        .c = args.logits,
        .c_stride = args.logits_stride,
        .rows = args.rows,
        .epilogue = {.bias = args.bias}});
  for (size_t row = 0; row < args.rows; ++row) {
    const float* logits = args.logits + row * args.logits_stride;
    args.maximum[row] = maximum_of(logits, words);
    args.exp_sum[row] = exp_sum_of(logits, words, args.maximum[row]);
  }
}

void head_combine(const HeadCombineArgs& args) {
  const Floats share(1.0f / static_cast<float>(args.branches));
  const Floats floor(args.floor);
  for (size_t w = 0; w < args.words; w += kLanes) {
    const size_t lanes = min_size(kLanes, args.words - w);
    const auto log_probability = [&](size_t branch) {
      return load_partial(args.logits + branch * args.logits_stride + w, lanes) -
             Floats(args.log_sum_exp[branch]);
    };
    // Probabilities are taken relative to the best branch's, which their mean can't exceed, so that
    // those too small for a float keep their logarithm.
    Floats top = log_probability(0);
    for (size_t b = 1; b < args.branches; ++b) top = Primitives::max(top, log_probability(b));
    if (args.branches > 1 && xsimd::any(!(top < floor))) {
      Floats sum(0.0f);
      for (size_t b = 0; b < args.branches; ++b) sum += exp_of_minus(top - log_probability(b));
      top += xsimd::log(sum * share);
    }
    store_partial(args.y + w, top, lanes);
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_HEAD_INL_
