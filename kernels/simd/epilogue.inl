// Bias, residual and activation, applied to a tile's sums before the one store. GEMM, convolution
// and Winograd's output share this: a tile whose columns are whole panels is finished in registers,
// any other is spilled to the stack and finished from there.
#ifndef LIGHTCAP_KERNELS_SIMD_EPILOGUE_INL_
#define LIGHTCAP_KERNELS_SIMD_EPILOGUE_INL_

#include "kernels/simd/activation.inl"
#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// A part of the output matrix that begins at some row and column.
struct Output {
  float* c;
  size_t stride;
  size_t columns;     // columns of the matrix from c's on
  Epilogue epilogue;  // its bias and residual begin at c's row and column
};

[[gnu::always_inline]] inline Output part_of(Output out, size_t row, size_t column) {
  out.c += row * out.stride + column;
  out.columns -= column;
  if (out.epilogue.bias != nullptr) out.epilogue.bias += column;
  if (out.epilogue.residual != nullptr)
    out.epilogue.residual += row * out.epilogue.residual_stride + column;
  return out;
}

enum class ResidualPlace : uint8_t { kNone, kBeforeActivation, kAfterActivation };

// Applies the epilogue to sums [rows][columns] in memory, rows `stride` apart. With kWholePanels
// there is a bias and the columns are whole panels: the loop is then free of branches, so that the
// activation of one vector overlaps with that of the next.
template <Activation kActivation, ResidualPlace kResidual, bool kWholePanels>
void finish_spilled_with(const float* sums, size_t stride, size_t rows, size_t columns,
                         const Output& output) {
  const Output out = output;  // a local copy: stores through out.c cannot alias it
  const Epilogue& epilogue = out.epilogue;
  const auto finish = [&](size_t row, size_t column, size_t lanes) __attribute__((always_inline)) {
    Floats sum = Floats::load_aligned(sums + row * stride + column);
    if (kWholePanels || epilogue.bias != nullptr)
      sum += load_partial(epilogue.bias + column, lanes);
    Floats residual(0.0f);
    if (kResidual != ResidualPlace::kNone)
      residual = load_partial(epilogue.residual + row * epilogue.residual_stride + column, lanes);
    if (kResidual == ResidualPlace::kBeforeActivation) sum += residual;
    sum = activate_value(sum, kActivation);
    if (kResidual == ResidualPlace::kAfterActivation) sum += residual;
    store_partial(out.c + row * out.stride + column, sum, lanes);
  };
  for (size_t row = 0; row < rows; ++row) {
    if (kWholePanels) {
      for (size_t column = 0; column < columns; column += kPanelWidth) {
#pragma GCC unroll 4
        for (size_t v = 0; v < kPanelVectors; ++v) finish(row, column + v * kLanes, kLanes);
      }
    } else {
      for (size_t column = 0; column < columns; column += kLanes)
        finish(row, column, min_size(kLanes, columns - column));
    }
  }
}

template <Activation kActivation>
void finish_spilled_activation(const float* sums, size_t stride, size_t rows, size_t columns,
                               const Output& out) {
  const bool whole = out.epilogue.bias != nullptr && columns % kPanelWidth == 0;
  const auto finish = [&]<ResidualPlace kResidual>() {
    whole ? finish_spilled_with<kActivation, kResidual, true>(sums, stride, rows, columns, out)
          : finish_spilled_with<kActivation, kResidual, false>(sums, stride, rows, columns, out);
  };
  if (out.epilogue.residual == nullptr) {
    finish.template operator()<ResidualPlace::kNone>();
  } else if (out.epilogue.residual_after) {
    finish.template operator()<ResidualPlace::kAfterActivation>();
  } else {
    finish.template operator()<ResidualPlace::kBeforeActivation>();
  }
}

// Finishes `columns` columns of spilled sums, or as many as `out` has left.
[[gnu::noinline]] void finish_spilled(const float* sums, size_t stride, size_t rows, size_t columns,
                                      const Output& out) {
  columns = min_size(columns, out.columns);
  switch (out.epilogue.activation) {
    case Activation::kNone:
      return finish_spilled_activation<Activation::kNone>(sums, stride, rows, columns, out);
    case Activation::kRelu:
      return finish_spilled_activation<Activation::kRelu>(sums, stride, rows, columns, out);
    case Activation::kSilu:
      return finish_spilled_activation<Activation::kSilu>(sums, stride, rows, columns, out);
    case Activation::kGelu:
      return finish_spilled_activation<Activation::kGelu>(sums, stride, rows, columns, out);
    case Activation::kSigmoid:
      return finish_spilled_activation<Activation::kSigmoid>(sums, stride, rows, columns, out);
  }
}

// Finishes a tile of whole panels in registers. In the output its panels are panel_columns apart.
template <Activation kActivation, size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_in_registers(Floats (&acc)[kRows][kVectors],
                                                       const Output& out, size_t row,
                                                       size_t first_column, size_t panel_columns) {
  // Each field is read on its own. A copy of the struct would be loaded as vectors right after its
  // fields were stored as words, and such a load has to wait until the stores have reached L1
  // (store forwarding fails).
  const size_t stride = out.stride, residual_stride = out.epilogue.residual_stride;
  float* const c = out.c + row * stride + first_column;
  const float* const bias = out.epilogue.bias;
  const float* residual = out.epilogue.residual;
  if (residual != nullptr) residual += row * residual_stride + first_column;
#pragma GCC unroll 16
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t column = v / kPanelVectors * panel_columns + v % kPanelVectors * kLanes;
    if (bias != nullptr) {
      const Floats x = load(bias + first_column + column);
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) acc[r][v] += x;
    }
    if (residual != nullptr) {
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) acc[r][v] += load(residual + r * residual_stride + column);
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) acc[r][v] = activate_value(acc[r][v], kActivation);
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) store(c + r * stride + column, acc[r][v]);
  }
}

// Finishes a tile whose sums are in registers. Activations that are computed there are SiLU with
// kSiluInRegisters, else none and ReLU; other tiles are spilled first. An instance for all three
// would cost the simple ones registers.
template <bool kSiluInRegisters, size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_tile(Floats (&acc)[kRows][kVectors], const Output& out,
                                               size_t row, size_t column, size_t panel_columns) {
  constexpr size_t kPanels = kVectors / kPanelVectors;
  const Activation activation = out.epilogue.activation;
  const size_t end = column + (kPanels - 1) * panel_columns + kPanelWidth;
  if (!out.epilogue.residual_after && out.columns >= end) {
    if (kSiluInRegisters && activation == Activation::kSilu)
      return finish_in_registers<Activation::kSilu>(acc, out, row, column, panel_columns);
    if (!kSiluInRegisters && activation == Activation::kNone)
      return finish_in_registers<Activation::kNone>(acc, out, row, column, panel_columns);
    if (!kSiluInRegisters && activation == Activation::kRelu)
      return finish_in_registers<Activation::kRelu>(acc, out, row, column, panel_columns);
  }
  alignas(64) float sums[kRows * kVectors * kLanes];
#pragma GCC unroll 64
  for (size_t i = 0; i < kRows * kVectors; ++i)
    acc[i / kVectors][i % kVectors].store_aligned(sums + i * kLanes);
  for (size_t panel = 0; panel < kPanels; ++panel) {
    finish_spilled(sums + panel * kPanelWidth, kVectors * kLanes, kRows, kPanelWidth,
                   part_of(out, row, column + panel * panel_columns));
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_EPILOGUE_INL_
