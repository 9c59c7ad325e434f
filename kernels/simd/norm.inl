#ifndef LIGHTCAP_KERNELS_SIMD_NORM_INL_
#define LIGHTCAP_KERNELS_SIMD_NORM_INL_

#include "kernels/simd/activation.inl"

namespace lightcap::internal {
namespace {

void layer_norm(const LayerNormArgs& args) {
  const float inverse_columns = 1.0f / static_cast<float>(args.columns);
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    Floats sum(0.0f);
    for (size_t j = 0; j < args.columns; j += kLanes) {
      sum += load_partial(x + j, min_size(kLanes, args.columns - j));
    }
    const float mean = sum_lanes(sum) * inverse_columns;
    // A second pass over the deviations is exact enough where the mean is large; there the mean of
    // squares minus the squared mean would cancel.
    Floats squares(0.0f);
    for (size_t j = 0; j < args.columns; j += kLanes) {
      const size_t count = min_size(kLanes, args.columns - j);
      const Floats deviation = first_lanes_or(load_partial(x + j, count) - mean, count, 0.0f);
      squares = multiply_add(deviation, deviation, squares);
    }
    const float variance = sum_lanes(squares) * inverse_columns;
    const Floats scale = divide(Floats(1.0f), xsimd::sqrt(Floats(variance + args.eps)));
    for (size_t j = 0; j < args.columns; j += kLanes) {
      const size_t count = min_size(kLanes, args.columns - j);
      const Floats normal = (load_partial(x + j, count) - mean) * scale;
      store_partial(y + j,
                    multiply_add(normal, load_partial(args.weight + j, count),
                                 load_partial(args.bias + j, count)),
                    count);
    }
  }
}

// y[j] = exp(x[j] - max) for j < count; returns the sum of y, lane by lane. y may be x.
inline Floats exponentials(const float* x, size_t count, float max, float* y) {
  Floats sum(0.0f);
  for (size_t j = 0; j < count; j += kLanes) {
    const size_t lanes = min_size(kLanes, count - j);
    const Floats e = first_lanes_or(exp_of_minus(max - load_partial(x + j, lanes)), lanes, 0.0f);
    store_partial(y + j, e, lanes);
    sum += e;
  }
  return sum;
}

// The largest of x[0 .. count), lane by lane; count >= 1.
inline Floats maxima_of(const float* x, size_t count) {
  Floats top(x[0]);
  for (size_t j = 0; j < count; j += kLanes) {
    const size_t lanes = min_size(kLanes, count - j);
    top = Primitives::max(top, first_lanes_or(load_partial(x + j, lanes), lanes, x[0]));
  }
  return top;
}
inline float maximum_of(const float* x, size_t count) { return max_lanes(maxima_of(x, count)); }

void softmax(const SoftmaxArgs& args) {
  for (size_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    const float sum = sum_lanes(exponentials(x, args.columns, maximum_of(x, args.columns), y));
    const Floats scale(1.0f / sum);
    for (size_t j = 0; j < args.columns; j += kLanes) {
      const size_t count = min_size(kLanes, args.columns - j);
      store_partial(y + j, load_partial(y + j, count) * scale, count);
    }
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_NORM_INL_
