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

// Adds lane by lane, so that the order is the same on every instruction set of a width.
inline float sum_lanes(Floats x) {
  alignas(64) float lanes[kLanes];
  x.store_aligned(lanes);
  float sum = lanes[0];
  for (size_t i = 1; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

inline float max_lanes(Floats x) {
  alignas(64) float lanes[kLanes];
  x.store_aligned(lanes);
  float top = lanes[0];
  for (size_t i = 1; i < kLanes; ++i) top = lanes[i] > top ? lanes[i] : top;
  return top;
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_PRIMITIVES_INL_
