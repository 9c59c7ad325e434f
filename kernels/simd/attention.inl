#ifndef LIGHTCAP_KERNELS_SIMD_ATTENTION_INL_
#define LIGHTCAP_KERNELS_SIMD_ATTENTION_INL_

#include "kernels/simd/norm.inl"

namespace lightcap::internal {
namespace {

// The multiply-adds of one sum wait for each other, so several sums are formed side by side: those
// of kSideBySide vectors, for kRowsAtOnce rows where there are as many. Each is still one
// accumulator in ascending order.
constexpr size_t kSideBySide = 4;
constexpr size_t kRowsAtOnce = kManyRegisters ? kMostAttentionRows : kMostAttentionRows / 2;

// Calls f<vectors>(lanes) for the next vectors of `left` >= 1 numbers, kSideBySide at most, the
// last of which has `lanes` of them.
template <class F>
[[gnu::always_inline]] inline void with_vectors(size_t left, const F& f) {
  const size_t vectors = min_size(kSideBySide, (left + kLanes - 1) / kLanes);
  const size_t lanes = min_size(kLanes, left - (vectors - 1) * kLanes);
  switch (vectors) {
    case 1:
      return f.template operator()<1>(lanes);
    case 2:
      return f.template operator()<2>(lanes);
    case 3:
      return f.template operator()<3>(lanes);
    default:
      return f.template operator()<4>(lanes);
  }
}

// scores[r][k] = scale * sum over d of query[r][d] * key[k][d], for kVectors vectors of keys from
// `key` on, in the last vector for `lanes` keys only.
template <size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void score_keys(const AttentionArgs& args,
                                              const float* const* queries, const KeyValues& run,
                                              size_t key, size_t lanes, float* const* scores) {
  Floats sums[kRows][kVectors];
  clear(sums);
  const float* keys = run.keys + key;
  for (size_t d = 0; d < args.head_size; ++d, keys += run.key_stride) {
    Floats x[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      x[v] = v + 1 < kVectors ? load(keys + v * kLanes) : load_partial(keys + v * kLanes, lanes);
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r) {
      const Floats query(queries[r][d]);
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = multiply_add(query, x[v], sums[r][v]);
    }
  }
#pragma GCC unroll 4
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      store_partial(scores[r] + key + v * kLanes, sums[r][v] * args.scale,
                    v + 1 < kVectors ? kLanes : lanes);
    }
  }
}

// Computes the scores of the first `count` keys of a run.
template <size_t kRows>
void score_run(const AttentionArgs& args, const float* const* queries, const KeyValues& run,
               size_t count, float* const* scores) {
  for (size_t key = 0; key < count; key += kSideBySide * kLanes) {
    with_vectors(count - key, [&]<size_t kVectors>(size_t lanes) {
      score_keys<kRows, kVectors>(args, queries, run, key, lanes, scores);
    });
  }
}

// sums[r] += weights[r][k] * value[k] for the first `count` keys of a run, kVectors vectors of each
// value from d on, in the last vector `lanes` floats only.
template <size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void mix_run(const float* const* weights, const KeyValues& run,
                                           size_t count, size_t d, size_t lanes,
                                           Floats (&sums)[kRows][kVectors]) {
  for (size_t k = 0; k < count; ++k) {
    const float* values = run.values + k * run.value_stride + d;
    Floats x[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      x[v] =
          v + 1 < kVectors ? load(values + v * kLanes) : load_partial(values + v * kLanes, lanes);
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r) {
      const Floats weight(weights[r][k]);
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = multiply_add(weight, x[v], sums[r][v]);
    }
  }
}

// The state of one row's attention: its scores, shared keys first, and how many of its own keys it
// sees.
template <size_t kRows>
struct AttendedRows {
  const float* queries[kRows];
  float* shared_scores[kRows];
  float* own_scores[kRows];
  size_t visible[kRows];  // ascending
  float scale[kRows];     // 1 / sum of exponentials
};

// Computes kVectors vectors of the rows' outputs, from d on.
template <size_t kRows, size_t kVectors>
void mix_values(const AttentionArgs& args, const AttendedRows<kRows>& rows, size_t d, size_t lanes,
                float* output) {
  Floats sums[kRows][kVectors];
  clear(sums);
  mix_run<kRows, kVectors>(rows.shared_scores, args.shared, args.shared.count, d, lanes, sums);
  mix_run<kRows, kVectors>(rows.own_scores, args.own, rows.visible[0], d, lanes, sums);
#pragma GCC unroll 4
  for (size_t r = 0; r < kRows; ++r) {
    // A later row sees more keys than the first.
    for (size_t k = rows.visible[0]; k < rows.visible[r]; ++k) {
      const float* value = args.own.values + k * args.own.value_stride + d;
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        const Floats x = load_partial(value + v * kLanes, v + 1 < kVectors ? kLanes : lanes);
        sums[r][v] = multiply_add(Floats(rows.own_scores[r][k]), x, sums[r][v]);
      }
    }
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      store_partial(output + r * args.output_stride + d + v * kLanes, sums[r][v] * rows.scale[r],
                    v + 1 < kVectors ? kLanes : lanes);
    }
  }
}

template <size_t kRows>
void attend(const AttentionArgs& args, size_t row) {
  AttendedRows<kRows> rows;
  for (size_t r = 0; r < kRows; ++r) {
    rows.queries[r] = args.queries + (row + r) * args.query_stride;
    rows.visible[r] = args.own.count + (row + r) * args.causal;
    rows.shared_scores[r] = args.scores + r * args.scores_stride;
    rows.own_scores[r] = rows.shared_scores[r] + args.shared.count;
  }
  score_run<kRows>(args, rows.queries, args.shared, args.shared.count, rows.shared_scores);
  // Row after row would wait for the maximum, and then for the sum, of each.
  Floats by_lanes[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    score_run<1>(args, rows.queries + r, args.own, rows.visible[r], rows.own_scores + r);
    by_lanes[r] = maxima_of(rows.shared_scores[r], args.shared.count + rows.visible[r]);
  }
  float maxima[kRows], sums[kRows];
  max_lanes(by_lanes, maxima);
  for (size_t r = 0; r < kRows; ++r) {
    float* const scores = rows.shared_scores[r];
    by_lanes[r] = exponentials(scores, args.shared.count + rows.visible[r], maxima[r], scores);
  }
  sum_lanes(by_lanes, sums);
  for (size_t r = 0; r < kRows; ++r) rows.scale[r] = 1.0f / sums[r];
  float* output = args.output + row * args.output_stride;
  for (size_t d = 0; d < args.head_size; d += kSideBySide * kLanes) {
    with_vectors(args.head_size - d, [&]<size_t kVectors>(size_t lanes) {
      mix_values<kRows, kVectors>(args, rows, d, lanes, output);
    });
  }
}

void attention(const AttentionArgs& args) {
  size_t row = 0;
  for (; row + kRowsAtOnce <= args.rows; row += kRowsAtOnce) attend<kRowsAtOnce>(args, row);
  if constexpr (kRowsAtOnce > 2) {
    for (; row + 2 <= args.rows; row += 2) attend<2>(args, row);
  }
  if (row < args.rows) attend<1>(args, row);
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_ATTENTION_INL_
