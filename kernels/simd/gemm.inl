// The product of floats: GEMM, and what convolution and the ensemble head make of it.
#ifndef LIGHTCAP_KERNELS_SIMD_GEMM_INL_
#define LIGHTCAP_KERNELS_SIMD_GEMM_INL_

#include "kernels/simd/epilogue.inl"
#include "kernels/simd/product.inl"
#include "kernels/simd/widen.inl"

namespace lightcap::internal {
namespace {

// The product of rows of floats with weights of any stored type (product.inl has what a kind is).
template <class StoredWeight>
struct FloatProduct {
  using Element = float;
  using Weight = StoredWeight;
  using Sums = Floats;
  using Output = internal::Output;
  static constexpr TileShape kTile = Primitives::kTile;
  static constexpr size_t kPlanes = 1;
  static constexpr bool kHasSiluTiles = true;
  static constexpr bool kHasStreams = true;
  static constexpr size_t kStepsOfRows = 1;
  static constexpr bool kMultipliesBlocks = false;
  // Narrow weights have half as many bytes in a step and need no prefetch at each.
  static constexpr bool kPrefetchesEachStep = sizeof(Weight) == sizeof(float);
  // Widened weights need a register, which weights of fp32 do not: they are operands from memory.
  // If sums, weights and a factor do not fit into the registers, the other order of a step would
  // spill: 3 x 32 needs 17 of AVX2's 16 registers, and each step would wait for a sum's store and
  // load.
  template <size_t kRows, size_t kVectors>
  static constexpr bool kTakesRowsFirst =
      sizeof(Weight)<sizeof(float) && kLanes == 8 && kRows * kVectors + kVectors + 1> 16 && kRows >
                                                                                                1;

  template <size_t kRows, size_t kVectors>
  [[gnu::always_inline]] static void begin(Floats (&acc)[kRows][kVectors], const Output&, size_t,
                                           size_t) {
    clear(acc);
  }
  static Floats broadcast(float x) { return Floats(x); }
  static Floats load(const Weight* panel, size_t v) { return load_of_panel(panel, v); }
  template <bool kIsUnrolled>
  [[gnu::always_inline]] static void add(Floats& sum, Floats x, Floats weights) {
    if (kIsUnrolled) {
      add_product(sum, x, weights);
    } else {
      sum = multiply_add(x, weights, sum);
    }
  }
  template <bool kInRegisters, size_t kRows, size_t kVectors>
  [[gnu::always_inline]] static void finish(Floats (&acc)[kRows][kVectors], const Output& out,
                                            size_t row, size_t column, size_t panel_columns) {
    order_outputs<Weight>(acc);
    finish_tile<kInRegisters>(acc, out, row, column, panel_columns);
  }
};

// Computes the whole product with weights of any stored type.
template <class RowSource>
[[gnu::always_inline]] inline void multiply_packed(const RowSource& source, size_t rows,
                                                   const PackedMatrix& weights,
                                                   const void* next_panels, const Output& out) {
  with_panels(
      weights, [&]<class Weight>(const Weight* panels) __attribute__((always_inline)) {
        multiply<FloatProduct<Weight>>(source, rows, weights.depth, panels,
                                       static_cast<const Weight*>(next_panels), out);
      });
}

void gemm(const GemmArgs& args) {
  if (args.rows == 0) return;
  const auto source = [&](size_t row, size_t, const auto& f) {
    f(DenseRows<float>{args.a + row * args.a_stride, args.a_stride, args.weights.depth});
  };
  multiply_packed(source, args.rows, args.weights, args.next_panels,
                  {args.c, args.c_stride, args.weights.outputs, args.epilogue});
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_GEMM_INL_
