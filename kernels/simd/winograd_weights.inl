// Winograd's transform of weights, for layers whose transformed weights are not kept. pack.cc has
// it for those that are.
#ifndef LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_
#define LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_

#include "kernels/simd/primitives.inl"
#include "kernels/simd/widen.inl"

namespace lightcap::internal {
namespace {

// A vector of floats as doubles.
struct WideFloats {
  Doubles half[2];

  WideFloats() = default;
  explicit WideFloats(Floats x) { Primitives::widen(x, half); }
  WideFloats(Doubles lower, Doubles upper) : half{lower, upper} {}
};
inline WideFloats operator+(const WideFloats& x, const WideFloats& y) {
  return {x.half[0] + y.half[0], x.half[1] + y.half[1]};
}
inline WideFloats operator-(const WideFloats& x, const WideFloats& y) {
  return {x.half[0] - y.half[0], x.half[1] - y.half[1]};
}

// Write x * scale to an address that is aligned to the size of a vector.
inline void store_scaled(float* p, const WideFloats& x, float scale) {
  const Doubles factor(static_cast<double>(scale));
  Primitives::store_narrow(p, {factor * x.half[0], factor * x.half[1]});
}
inline void store_scaled(float* p, Floats x, float scale) { (x * Floats(scale)).store_aligned(p); }

// G g along one axis, u[1] and u[2] twice as large: their scales are left to the end.
template <class Number>
[[gnu::always_inline]] inline void winograd_taps(const Number& g0, const Number& g1,
                                                 const Number& g2, Number (&u)[4]) {
  const Number even = g0 + g2;
  u[0] = g0;
  u[1] = even + g1;
  u[2] = even - g1;
  u[3] = g2;
}

// One vector of outputs of one channel, computed in `Number`s; taps are tap_stride apart. Scales
// are powers of two, so that it does not matter to the rounding where they are multiplied with.
template <class Number, class Weight>
[[gnu::always_inline]] inline void transform_weights(const Weight* taps, size_t tap_stride,
                                                     float* out, size_t component_stride) {
  Number lines[3][4];  // the lines of taps, transformed
#pragma GCC unroll 3
  for (size_t ky = 0; ky < 3; ++ky) {
    Number g[3];
#pragma GCC unroll 3
    for (size_t kx = 0; kx < 3; ++kx) {
      const Floats tap = load_weights(taps + (ky * 3 + kx) * tap_stride);
      g[kx] = Number(tap);
      // The taps of the corners are components.
      if (ky != 1 && kx != 1) tap.store_aligned(out + (ky * 6 + kx / 2 * 3) * component_stride);
    }
    winograd_taps(g[0], g[1], g[2], lines[ky]);
  }
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; ++j) {
    Number u[4];
    winograd_taps(lines[0][j], lines[1][j], lines[2][j], u);
    const bool is_outer_column = j == 0 || j == 3;
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const bool is_outer_row = i == 0 || i == 3;
      if (is_outer_row && is_outer_column) continue;
      store_scaled(out + (i * 4 + j) * component_stride, u[i],
                   is_outer_row || is_outer_column ? 0.5f : 0.25f);
    }
  }
}

// Components are sums of doubles, rounded to floats. Narrow taps have so few bits that floats hold
// most such sums exactly; they give the same components then, in less than half of the time. Two
// vectors of taps are looked at together, as the 16-bit numbers that they are stored as: without
// the sign, these are in the order of the values.
using StoredTaps = int16_t __attribute__((vector_size(2 * kLanes * sizeof(int16_t))));
constexpr size_t kTapsTogether = 2 * kLanes;

template <class Weight>
[[gnu::always_inline]] inline StoredTaps tap_magnitudes(const Weight* taps) {
  StoredTaps bits;
  __builtin_memcpy(&bits, taps, sizeof bits);
  return bits & int16_t{0x7fff};
}

inline bool has_any(StoredTaps mask) {
  return xsimd::any(__builtin_bit_cast(Integers, mask) != Integers(0));
}

inline bool are_sums_exact(const float*, size_t) { return false; }

// Halves are multiples of 2^-24. Where nine together are below 1, all sums have 24 bits at most.
[[gnu::always_inline]] inline bool are_sums_exact(const Half* taps, size_t tap_stride) {
  constexpr int16_t kNinth = 0x2f1c;  // the largest half below 1 / 9
  StoredTaps largest = tap_magnitudes(taps);
#pragma GCC unroll 8
  for (size_t i = 1; i < 9; ++i) {
    const StoredTaps magnitudes = tap_magnitudes(taps + i * tap_stride);
    largest = magnitudes > largest ? magnitudes : largest;
  }
  return !has_any(largest > kNinth);
}

// A bfloat16 of exponent e is a multiple of 2^(e - 7), and nine of exponents up to e + 12 are
// together below 2^(e + 17): all sums have 24 bits at most. Zeros are multiples of anything.
[[gnu::always_inline]] inline bool are_sums_exact(const Bfloat* taps, size_t tap_stride) {
  constexpr int16_t kRange = 12 << 7, kAbove = 0x7c00;  // no sum of nine below 2^121 overflows
  // The smallest is taken less 1, for which zeros become the largest.
  StoredTaps largest = {}, smallest = largest + int16_t{kAbove - kRange - 1};
#pragma GCC unroll 9
  for (size_t i = 0; i < 9; ++i) {
    const StoredTaps magnitudes = tap_magnitudes(taps + i * tap_stride);
    const StoredTaps less = (magnitudes - int16_t{1}) & int16_t{0x7fff};
    largest = magnitudes > largest ? magnitudes : largest;
    smallest = less < smallest ? less : smallest;
  }
  return !has_any(largest - smallest > int16_t{kRange + 1});
}

void winograd_weights(const WinogradWeightsArgs& args) {
  const size_t depth = args.weights.depth, tap_stride = depth / 9 * kPanelWidth;
  const size_t component_stride = args.component_stride;
  with_panels(
      args.weights, [&]<class Weight>(const Weight* panels) __attribute__((always_inline)) {
        float* out = args.output;
        const auto transform = [&]<class Number>(const Weight* taps)
            __attribute__((always_inline)) {
          transform_weights<Number>(taps, tap_stride, out, component_stride);
          out += kLanes;
        };
        for (size_t panel = 0; panel < panel_count(args.weights.outputs); ++panel) {
          const Weight* taps = panels + panel * depth * kPanelWidth;
          const Weight* const end = taps + tap_stride;
          for (; taps + kTapsTogether <= end; taps += kTapsTogether) {
            const bool is_exact = are_sums_exact(taps, tap_stride);
            for (size_t i = 0; i < kTapsTogether; i += kLanes) {
              if (is_exact) {
                transform.template operator()<Floats>(taps + i);
              } else {
                transform.template operator()<WideFloats>(taps + i);
              }
            }
          }
          for (; taps < end; taps += kLanes) transform.template operator()<WideFloats>(taps);
        }
      });
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_WINOGRAD_WEIGHTS_INL_
