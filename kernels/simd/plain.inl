// The vector primitives of an instruction set: the few operations, and facts about the machine,
// that xsimd lacks or is slow at. Each row of isa.def has its own in simd/NAME.inl, as the struct
// `Primitives` of a namespace of the row's name, which derives from the one below or from another
// row's and replaces what its instructions do better. primitives.inl makes them the kernels'
// vocabulary; tests/primitives tests each row's against the contracts here.
//
// A row's header is chosen by the row's name and not by the compiler's macros: those say what the
// flags allow, and a host project may have raised them for all of its code.
#ifndef LIGHTCAP_KERNELS_SIMD_PLAIN_INL_
#define LIGHTCAP_KERNELS_SIMD_PLAIN_INL_

#include "kernels/gemm_schedule.h"
#include "kernels/integer_silu.h"
#include "kernels/packed_matrix.h"

namespace lightcap::internal {
namespace {

using Floats = xsimd::batch<float, Arch>;
using Integers = xsimd::as_integer_t<Floats>;
constexpr size_t kLanes = Floats::size;
using Doubles = xsimd::batch<double, Arch>;

// The elements of an integer product: kQuad bytes of a row, and the weights of one output that they
// are multiplied with.
struct Quad {
  uint8_t bytes[kQuad];
};
struct WeightQuad {
  int8_t weights[kQuad];
};

// The same of 16-bit integers.
struct Pair {
  int16_t shorts[kPair];
};

namespace plain {

// Primitives that xsimd and the compiler have for any architecture. A row must add kTile,
// load_half, load_bfloat, widen, store_narrow, to_integers, add_dots and add_pairs.
struct Primitives {
  // static constexpr TileShape kTile: the largest register tile of a product. Its sums, a step's
  // weights and one factor should fit into the vector registers (product.inl).

  // Vector registers.
  static constexpr size_t kRegisters = 16;

  // True if multiply_add and add_product round once, as a fused multiply-add does; else they round
  // the product and the sum.
  static constexpr bool kIsFused = true;

  // x * y + z.
  static Floats multiply_add(Floats x, Floats y, Floats z) { return xsimd::fma(x, y, z); }

  // sum += x * y, with the bits of multiply_add; for unrolled loops of many sums.
  static void add_product(Floats& sum, Floats x, Floats y) { sum = xsimd::fma(x, y, sum); }

  // x / y, rounded correctly.
  static Floats divide(Floats x, Floats y) { return x / y; }

  // The smaller and the larger of x and y. y where either is NaN; where the machine has no such
  // instruction, NaN. xsimd changed the order of its operands, and with it what NaN gives, between
  // versions 8 and 14.
  static Floats min(Floats x, Floats y) { return xsimd::select(x < y, x, y); }
  static Floats max(Floats x, Floats y) { return xsimd::select(x > y, x, y); }

  // The first `count` < kLanes floats at p, zeros in the other lanes. Reads nothing else.
  static Floats load_partial(const float* p, size_t count) {
    alignas(64) float lanes[kLanes] = {};
    for (size_t i = 0; i < count; ++i) lanes[i] = p[i];
    return Floats::load_aligned(lanes);
  }

  // Writes the first `count` < kLanes lanes to p and nothing else.
  static void store_partial(float* p, Floats x, size_t count) {
    alignas(64) float lanes[kLanes];
    x.store_aligned(lanes);
    for (size_t i = 0; i < count; ++i) p[i] = lanes[i];
  }

  // x in the first `count` < kLanes lanes, `rest` in the others.
  static Floats first_lanes_or(Floats x, size_t count, float rest) {
    alignas(64) float lanes[kLanes];
    x.store_aligned(lanes);
    for (size_t i = count; i < kLanes; ++i) lanes[i] = rest;
    return Floats::load_aligned(lanes);
  }

  // static Floats load_half(const uint16_t* p), load_bfloat(const uint16_t* p): kLanes IEEE halves
  // or bfloat16 as floats, exactly, from an address that is aligned to the size of all of them. A
  // NaN stays one.

  // True where 2 * kLanes bfloat16 are widened faster as those of even and those of odd places:
  // static Floats load_bfloats_of_parity(const uint16_t* p, size_t parity) gives the ones of even
  // places (parity 0) or of odd ones (1), from an address as for load_half of 2 * kLanes, and
  // static void interleave(Floats& x, Floats& y) makes them x0 y0 x1 y1 ... again.
  static constexpr bool kSplitsBfloats = false;

  // static void widen(Floats x, Doubles (&y)[2]): the lower and the upper half of a vector's lanes
  // as doubles. static void store_narrow(float* p, const Doubles (&x)[2]): the way back, rounded to
  // the nearest, to an address that is aligned to the size of a vector.

  // x, in a way that no compiler sees through: a product that was rounded is not fused with the
  // sum that takes it. Integer kernels promise the same bits on every machine.
  static Floats rounded(Floats x) {
    typename Floats::register_type value = x;
#if defined(__x86_64__)
    asm("" : "+v"(value));
#else
    asm("" : "+w"(value));
#endif
    return value;
  }

  static Floats to_floats(Integers x) { return xsimd::to_float(x); }

  // static Integers to_integers(Floats x): to the nearest, halves to even; |x| < 2^31.

  // static void add_dots(Integers& sum, Integers row, Integers weights): adds to each lane the sum
  // over k < 4 of (row[k] - kByteOffset) * weights[k], where row[k] is the lane's k-th byte, and
  // weights[k] are signed. `row` is what broadcast() made of the lane's bytes. For two weights of
  // one sign, of k = 0 and 1 or 2 and 3, that add up to more than 128 in absolute value, the result
  // is undefined.
  static constexpr int32_t kByteOffset = 0;
  static Integers broadcast(Quad row) { return Integers(__builtin_bit_cast(int32_t, row)); }

  // Instructions that multiply by one quad of a vector let kQuadsOfRows of a row be loaded as one:
  // RowQuads load_quads(const Quad* p), and add_dots_of<i>(sum, quads, weights) is
  // add_dots(sum, broadcast(p[i]), weights). Elsewhere it is 1, and nothing uses them.
  static constexpr size_t kQuadsOfRows = 1;
  using RowQuads = Integers;
  static RowQuads load_quads(const Quad* p) { return broadcast(*p); }
  template <size_t kQuadOfRow>
  static void add_dots_of(Integers&, RowQuads, Integers) {}

  // True where an instruction multiplies eight bytes each of two rows by those of two outputs. Such
  // vectors have four lanes, and there are:
  //
  // template <size_t kQuads> static Integers load_block(const Quad* first, const Quad* second): 1
  // or 2 quads of each row, with zeros behind them, in half a vector each. static void
  // exchange_halves(Integers& x, Integers& y): the upper half of x with the lower one of y. static
  // void interleave(Integers& x, Integers& y): makes them x0 y0 x1 y1 and x2 y2 x3 y3. static void
  // add_blocks(Integers& sum, Integers rows, Integers weights): adds to lane 2 * i + j the sum over
  // k < 8 of the unsigned byte 8 * i + k of `rows` and the signed one 8 * j + k of `weights`.
  static constexpr bool kMultipliesBlocks = false;

  // static void add_pairs(Integers& sum, Integers row, Integers weights): adds to each lane the sum
  // over k < 2 of row[k] * weights[k], which are the lane's 16-bit halves, modulo 2^32.

  // True if add_dots takes about as long for 4 products as add_pairs for 2, or longer.
  static constexpr bool kPrefersIntegerWinograd = false;

  // Vectors of 4 * kLanes bytes and of 2 * kLanes 16-bit numbers, which take as much room as a
  // vector of floats. An instruction set has its own types, Bytes and Shorts, and these:
  //
  // static Shorts pack(Integers x, Integers y): x and y with saturation, in an order that the
  // instruction set chooses.
  // static Bytes pack(Shorts x, Shorts y): with saturation to 0..255. The results of
  // pack(w, x) and pack(y, z) become the bytes of w, x, y and z in their order.
  // static void unpack(Bytes bytes, Shorts& x, Shorts& y): the other way round.
  // static void split(Shorts x, Shorts y, Bytes& high, Bytes& low): the numbers' upper and lower
  // bytes, in the order of pack(Shorts, Shorts). The upper ones are signed, and 128 is added.
  // static Shorts shorts(int16_t x): x in each lane.
  // static Shorts add(Shorts x, Shorts y): with saturation.
  // static Shorts max(Shorts x, Shorts y).
  // static Shorts silu(Shorts x, Shorts factor): integer_silu() of integer_silu.h, and its
  // multiply_high_rounded() with the factor.
  // static Integers load_bytes(const uint8_t* p): kLanes bytes.
  // template <size_t kRows> static Bytes load_rows(const uint8_t* p, size_t stride, size_t count),
  // static void store_rows(Bytes bytes, uint8_t* p, size_t stride, size_t count): a vector of bytes
  // from or to kRows rows, of which there are the first `count`, at least 1. kRows is such that a
  // row has 16 bytes or more.

  // silu() for instruction sets that look nothing up.
  template <class Shorts>
  static Shorts plain_silu(Shorts x, Shorts factor) {
    alignas(64) int16_t lanes[2 * kLanes], factors[2 * kLanes];
    __builtin_memcpy(lanes, &x, sizeof x);
    __builtin_memcpy(factors, &factor, sizeof factor);
    for (size_t i = 0; i < 2 * kLanes; ++i)
      lanes[i] = multiply_high_rounded(integer_silu(lanes[i]), factors[i]);
    __builtin_memcpy(&x, lanes, sizeof x);
    return x;
  }
};

}  // namespace plain
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_PLAIN_INL_
