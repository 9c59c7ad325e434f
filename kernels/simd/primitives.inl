// The vocabulary of the kernels' bodies: vectors of floats, the row's primitives under short names,
// tails without over-read, and sums in a fixed order.
#ifndef LIGHTCAP_KERNELS_SIMD_PRIMITIVES_INL_
#define LIGHTCAP_KERNELS_SIMD_PRIMITIVES_INL_

#include "kernels/kernels.h"
#include "kernels/simd/row.h"

namespace lightcap::internal {
namespace {

constexpr bool kManyRegisters = Primitives::kRegisters > 16;
constexpr size_t kPanelVectors = kPanelWidth / kLanes;

inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

inline Floats load(const float* p) { return Floats::load_unaligned(p); }
inline void store(float* p, Floats x) { x.store_unaligned(p); }

// x * y + z, rounded once where the instruction set can (Primitives::kIsFused).
inline Floats multiply_add(Floats x, Floats y, Floats z) {
  return Primitives::multiply_add(x, y, z);
}

// x / y, rounded correctly.
inline Floats divide(Floats x, Floats y) { return Primitives::divide(x, y); }

// Reinterpret a vector's bits. xsimd's bitwise_cast is a call on NEON, where GCC doesn't inline its
// wrappers.
inline Integers bits_of(Floats x) { return __builtin_bit_cast(Integers, x); }
inline Floats floats_of(Integers bits) { return __builtin_bit_cast(Floats, bits); }

// sum += x * y, for unrolled loops of many sums.
inline void add_product(Floats& sum, Floats x, Floats y) { Primitives::add_product(sum, x, y); }

template <size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void clear(Floats (&sums)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = Floats(0.0f);
  }
}

// Loads the first `count` <= kLanes floats; the other lanes are zero. Reads nothing else.
inline Floats load_partial(const float* p, size_t count) {
  return count == kLanes ? load(p) : Primitives::load_partial(p, count);
}

// Writes the first `count` <= kLanes lanes and nothing else.
inline void store_partial(float* p, Floats x, size_t count) {
  count == kLanes ? store(p, x) : Primitives::store_partial(p, x, count);
}

// Keeps the first `count` <= kLanes lanes of x and sets the others to `rest`.
inline Floats first_lanes_or(Floats x, size_t count, float rest) {
  return count == kLanes ? x : Primitives::first_lanes_or(x, count, rest);
}

inline Integers load(const int32_t* p) { return Integers::load_unaligned(p); }
inline Integers load_partial(const int32_t* p, size_t count) {
  return bits_of(load_partial(reinterpret_cast<const float*>(p), count));
}

// Reduces each vector to a number, lane by lane, so that the order is the same on every instruction
// set of a width. A step waits for the one before it, so that four vectors take as long as one.
template <size_t kCount, class Add>
[[gnu::always_inline]] inline void reduce_lanes(const Floats (&x)[kCount], float (&results)[kCount],
                                                const Add& add) {
  alignas(64) float lanes[kCount][kLanes];
#pragma GCC unroll 4
  for (size_t v = 0; v < kCount; ++v) {
    x[v].store_aligned(lanes[v]);
    results[v] = lanes[v][0];
  }
#pragma GCC unroll 16
  for (size_t i = 1; i < kLanes; ++i) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kCount; ++v) add(results[v], lanes[v][i]);
  }
}
template <size_t kCount>
[[gnu::always_inline]] inline void sum_lanes(const Floats (&x)[kCount], float (&sums)[kCount]) {
  reduce_lanes(x, sums, [](float& sum, float lane) { sum += lane; });
}
template <size_t kCount>
[[gnu::always_inline]] inline void max_lanes(const Floats (&x)[kCount], float (&maxima)[kCount]) {
  reduce_lanes(x, maxima, [](float& top, float lane) { top = lane > top ? lane : top; });
}

inline float sum_lanes(Floats x) {
  float sum[1];
  sum_lanes({x}, sum);
  return sum[0];
}
inline float max_lanes(Floats x) {
  float maximum[1];
  max_lanes({x}, maximum);
  return maximum[0];
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_PRIMITIVES_INL_
