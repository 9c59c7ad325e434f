// Vector primitives of AVX2 with FMA and F16C. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_AVX2_INL_
#define LIGHTCAP_KERNELS_SIMD_AVX2_INL_

#include <immintrin.h>

#include "kernels/simd/plain.inl"

namespace lightcap::internal {
namespace {
namespace avx2 {

// From kFirstLanes + 8 - n on: a mask of the first n lanes.
alignas(64) constexpr int32_t kFirstLanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

struct Ones {
  alignas(32) int16_t ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
};
constexpr Ones kOnes;

struct UpperHalves {
  alignas(32) uint32_t words[8] = {0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000,
                                   0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000};
};
constexpr UpperHalves kUpperHalves;

// The lower and the upper bytes of one of integer_silu.h's tables.
struct PieceBytes {
  alignas(16) uint8_t low[kSigmoidPieces] = {}, high[kSigmoidPieces] = {};

  explicit constexpr PieceBytes(const int16_t* table) {
    for (size_t i = 0; i < kSigmoidPieces; ++i) {
      low[i] = static_cast<uint8_t>(table[i] & 255);
      high[i] = static_cast<uint8_t>(table[i] >> 8);
    }
  }
  __m256i low_bytes() const { return in_both_halves(low); }
  __m256i high_bytes() const { return in_both_halves(high); }
  static __m256i in_both_halves(const uint8_t* bytes) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
};
constexpr PieceBytes kSigmoidAtBytes(kShiftedBegins.at), kSigmoidRiseBytes(kSigmoidRise);

struct Primitives : plain::Primitives {
  // A step of 6 x 16 is 12 multiply-adds and 8 loads, for which the FMA units need 6 cycles.
  // Counting and prefetching at each step would be a fifth more instructions, and a core that two
  // hardware threads share decodes for each in every second cycle only: without unrolling, the
  // encoder's products took 1.1 x as long there.
  static constexpr TileShape kTile = {.mr = 6, .nr_panels = 1, .unroll = 4};

  // The compiler would let many sums change registers, and spill some; this keeps each where it is.
  static void add_product(Floats& sum, Floats x, Floats y) {
    const __m256 a = x, b = y;
    __m256 in_place = sum;
    asm("vfmadd231ps %1, %2, %0" : "+x"(in_place) : "x"(b), "x"(a));
    sum = in_place;
  }
  static Floats load_partial(const float* p, size_t count) {
    return _mm256_maskload_ps(
        p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + 8 - count)));
  }
  static Floats first_lanes_or(Floats x, size_t count, float rest) {
    return _mm256_blendv_ps(
        _mm256_set1_ps(rest), x,
        _mm256_loadu_ps(reinterpret_cast<const float*>(kFirstLanes + 8 - count)));
  }
  static Floats min(Floats x, Floats y) { return _mm256_min_ps(x, y); }
  static Floats max(Floats x, Floats y) { return _mm256_max_ps(x, y); }
  static Floats load_half(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Floats load_bfloat(const uint16_t* p) {
    const __m128i halves = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }

  // Both halves of a word are one instruction away from a float: a step of a panel takes one load
  // and two of these. Zero-extending each half of the panel takes a shuffle and a shift more.
  static constexpr bool kSplitsBfloats = true;
  static Floats load_bfloats_of_parity(const uint16_t* p, size_t parity) {
    const __m256i words = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
    if (parity == 0) return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    // The mask is an operand from memory: full tiles have no register for it.
    __m256 odd;
    asm("vandps %1, %2, %0" : "=x"(odd) : "m"(kUpperHalves), "x"(words));
    return odd;
  }
  static void interleave(Floats& x, Floats& y) {
    const __m256 low = _mm256_unpacklo_ps(x, y), high = _mm256_unpackhi_ps(x, y);
    x = _mm256_permute2f128_ps(low, high, 0x20);
    y = _mm256_permute2f128_ps(low, high, 0x31);
  }

  static void widen(Floats x, Doubles (&y)[2]) {
    y[0] = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    y[1] = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
  }
  static void store_narrow(float* p, const Doubles (&x)[2]) {
    _mm_store_ps(p, _mm256_cvtpd_ps(x[0]));
    _mm_store_ps(p + 4, _mm256_cvtpd_ps(x[1]));
  }

  static Integers to_integers(Floats x) { return _mm256_cvtps_epi32(x); }
  // Twelve sums, two vectors of weights, a row's bytes and the pairs are 16 registers: ones are an
  // operand from memory.
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    __m256i pairs = _mm256_maddubs_epi16(row, weights), in_place = sum;
    asm("vpmaddwd %1, %0, %0" : "+x"(pairs) : "m"(kOnes));
    asm("vpaddd %1, %0, %0" : "+x"(in_place) : "x"(pairs));
    sum = in_place;
  }
  static constexpr bool kPrefersIntegerWinograd = true;
  static void add_pairs(Integers& sum, Integers row, Integers weights) {
    const __m256i products = _mm256_madd_epi16(row, weights);
    __m256i in_place = sum;
    asm("vpaddd %1, %0, %0" : "+x"(in_place) : "x"(products));
    sum = in_place;
  }

  using Shorts = __m256i;
  using Bytes = __m256i;
  // Packs work on each 128 bits by themselves: 4 lanes of x and 4 of y follow each other there.
  static Shorts pack(Integers x, Integers y) { return _mm256_packs_epi32(x, y); }
  static Bytes pack(Shorts x, Shorts y) {
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(x, y),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  static void unpack(Bytes bytes, Shorts& x, Shorts& y) {
    const __m256i ordered =
        _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
    x = _mm256_unpacklo_epi8(ordered, _mm256_setzero_si256());
    y = _mm256_unpackhi_epi8(ordered, _mm256_setzero_si256());
  }
  static void split(Shorts x, Shorts y, Bytes& high, Bytes& low) {
    const __m256i low_bytes = _mm256_set1_epi16(255), sign = _mm256_set1_epi16(-32768);
    low = pack(_mm256_and_si256(x, low_bytes), _mm256_and_si256(y, low_bytes));
    high = pack(_mm256_srli_epi16(_mm256_xor_si256(x, sign), 8),
                _mm256_srli_epi16(_mm256_xor_si256(y, sign), 8));
  }
  static Shorts shorts(int16_t x) { return _mm256_set1_epi16(x); }
  static Shorts add(Shorts x, Shorts y) { return _mm256_adds_epi16(x, y); }
  static Shorts max(Shorts x, Shorts y) { return _mm256_max_epi16(x, y); }
  static Shorts silu(Shorts x, Shorts factor) {
    // Magnitudes beyond the last piece are as good as its end.
    const __m256i magnitude = _mm256_min_epu16(_mm256_abs_epi16(x), _mm256_set1_epi16(4095));
    // vpshufb looks up bytes by the piece's number; where an index is negative it gives 0.
    const __m256i for_low =
        _mm256_or_si256(_mm256_srli_epi16(magnitude, 8), _mm256_set1_epi16(-32768));
    const __m256i for_high = _mm256_or_si256(_mm256_and_si256(magnitude, _mm256_set1_epi16(0x0f00)),
                                             _mm256_set1_epi16(0x80));
    const auto look_up = [&](const PieceBytes& table) __attribute__((always_inline)) {
      return _mm256_or_si256(_mm256_shuffle_epi8(table.low_bytes(), for_low),
                             _mm256_shuffle_epi8(table.high_bytes(), for_high));
    };
    const __m256i place = _mm256_slli_epi16(magnitude, 7);
    const __m256i upper = _mm256_add_epi16(look_up(kSigmoidAtBytes),
                                           _mm256_mulhrs_epi16(look_up(kSigmoidRiseBytes), place));
    // 32767 less that for negative numbers, which is to turn its 15 bits.
    const __m256i sigmoid = _mm256_xor_si256(upper, _mm256_srli_epi16(_mm256_srai_epi16(x, 15), 1));
    return _mm256_mulhrs_epi16(_mm256_mulhrs_epi16(x, sigmoid), factor);
  }
  static Integers load_bytes(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  template <size_t kRows>
  [[gnu::always_inline]] static Bytes load_rows(const uint8_t* p, size_t stride, size_t count) {
    if constexpr (kRows == 1) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const auto at = [&](size_t i) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * stride));
    };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(at(0)), at(count - 1), 1);
  }
  template <size_t kRows>
  [[gnu::always_inline]] static void store_rows(Bytes bytes, uint8_t* p, size_t stride,
                                                size_t count) {
    if constexpr (kRows == 1) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bytes);
    const auto to = [&](size_t i) { return reinterpret_cast<__m128i*>(p + i * stride); };
    _mm_storeu_si128(to(0), _mm256_castsi256_si128(bytes));
    if (count > 1) _mm_storeu_si128(to(1), _mm256_extracti128_si256(bytes, 1));
  }
};

}  // namespace avx2
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_AVX2_INL_
