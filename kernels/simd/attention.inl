#ifndef LIGHTCAP_KERNELS_SIMD_ATTENTION_INL_
#define LIGHTCAP_KERNELS_SIMD_ATTENTION_INL_

#include "kernels/simd/norm.inl"

namespace lightcap {
namespace {

// scores[k] = scale * sum over d of query[d] * key[k][d], for the first `count` keys.
inline void attention_scores(const float* query, size_t head_size, float scale,
                             const KeyValues& run, size_t count, float* scores) {
  for (size_t k = 0; k < count; k += kLanes) {
    const size_t lanes = min_size(kLanes, count - k);
    Floats sum(0.0f);
    for (size_t d = 0; d < head_size; ++d) {
      sum = multiply_add(Floats(query[d]), load_partial(run.keys + d * run.key_stride + k, lanes),
                         sum);
    }
    store_partial(scores + k, sum * scale, lanes);
  }
}

inline Floats weighted_values(const float* weights, const KeyValues& run, size_t count, size_t d,
                              size_t lanes, Floats sum) {
  for (size_t k = 0; k < count; ++k) {
    sum = multiply_add(Floats(weights[k]),
                       load_partial(run.values + k * run.value_stride + d, lanes), sum);
  }
  return sum;
}

void attention(const AttentionArgs& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    const float* query = args.queries + row * args.query_stride;
    const size_t captioned = args.caption.count + row * args.causal;
    const size_t keys = args.prefix.count + captioned;
    float* scores = args.scores;
    float* caption_scores = scores + args.prefix.count;
    attention_scores(query, args.head_size, args.scale, args.prefix, args.prefix.count, scores);
    attention_scores(query, args.head_size, args.scale, args.caption, captioned, caption_scores);
    const float sum = exponentials(scores, keys, maximum_of(scores, keys), scores);
    const Floats scale(1.0f / sum);
    float* output = args.output + row * args.output_stride;
    for (size_t d = 0; d < args.head_size; d += kLanes) {
      const size_t lanes = min_size(kLanes, args.head_size - d);
      Floats value =
          weighted_values(scores, args.prefix, args.prefix.count, d, lanes, Floats(0.0f));
      value = weighted_values(caption_scores, args.caption, captioned, d, lanes, value);
      store_partial(output + d, value * scale, lanes);
    }
  }
}

}  // namespace
}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_SIMD_ATTENTION_INL_
