// The epilogue of integer products, which makes bytes or floats of a tile's sums. Every rounding is
// the contract's (kernels.h): all instruction sets compute the same bits.
#ifndef LIGHTCAP_KERNELS_SIMD_INTEGER_EPILOGUE_INL_
#define LIGHTCAP_KERNELS_SIMD_INTEGER_EPILOGUE_INL_

#include "kernels/integer_silu.h"
#include "kernels/simd/primitives.inl"

namespace lightcap::internal {
namespace {

// A part of the output matrix that begins at some row and column.
struct IntegerResults {
  IntegerOutput c;
  size_t stride;
  size_t columns;       // columns of the matrix from c's on
  const float* scales;  // these, the sums of weights, and the epilogue's bias and residual
  const int32_t* sums;  // begin at c's row and column
  IntegerEpilogue epilogue;
};

inline IntegerResults results_of(const IntegerOutput& c, size_t stride, const PackedMatrix& weights,
                                 const IntegerEpilogue& epilogue) {
  return {c, stride, weights.outputs, weights.scales, weights.sums, epilogue};
}

[[gnu::always_inline]] inline IntegerResults part_of(IntegerResults out, size_t row,
                                                     size_t column) {
  if (out.c.bytes != nullptr) out.c.bytes += row * out.stride + column;
  if (out.c.floats != nullptr) out.c.floats += row * out.stride + column;
  out.columns -= column;
  out.scales += column;
  out.sums += column;
  out.epilogue.bias += column;
  if (out.epilogue.residual != nullptr)
    out.epilogue.residual += row * out.epilogue.residual_stride + column;
  return out;
}

// The columns of a vector that begins at column `at` of `columns`.
inline size_t columns_at(size_t columns, size_t at) {
  return at < columns ? min_size(kLanes, columns - at) : 0;
}

// The ways to make bytes of t, by activation and residual. With kClamped, what is less than a floor
// is raised to it, and the zero added; without, ReLU is what saturation does.
enum class ByteEnd : uint8_t {
  kPlain,
  kClamped,
  kPlainAfterSum,
  kClampedAfterSum,
  kSilu,
  kSiluSum
};

constexpr bool takes_residual_before(ByteEnd end) {
  return end == ByteEnd::kPlainAfterSum || end == ByteEnd::kClampedAfterSum;
}

inline ByteEnd end_of(const IntegerEpilogue& epilogue) {
  const bool has_residual = epilogue.residual != nullptr;
  if (epilogue.activation == Activation::kSilu)
    return has_residual ? ByteEnd::kSiluSum : ByteEnd::kSilu;
  if (epilogue.zero == 0) return has_residual ? ByteEnd::kPlainAfterSum : ByteEnd::kPlain;
  return has_residual ? ByteEnd::kClampedAfterSum : ByteEnd::kClamped;
}

// Four vectors of a tile's sums, whose bytes are one vector: kRows rows by kVectors vectors, of
// tiles that have kTileVectors.
template <size_t kTileVectors>
struct Group {
  static constexpr size_t kRows = kTileVectors < 4 ? 4 / kTileVectors : 1;
  static constexpr size_t kVectors = 4 / kRows;
  static constexpr size_t kPanels = Primitives::kPanelsOfBytes;
  static constexpr size_t kRowPanels = kPanels / kRows;  // side by side
};

// Finishes tiles of kTileVectors vectors a row to bytes. The output's columns are whole panels,
// which are panel_columns apart.
template <ByteEnd kEnd, size_t kTileVectors>
struct ByteFinisher {
  using In = Group<kTileVectors>;
  using Shorts = typename Primitives::Shorts;
  uint8_t* c;
  size_t stride;
  const float* scales;
  const uint8_t* residual;
  size_t residual_stride, panel_columns;
  Floats residual_scale;
  Integers residual_zero;
  Shorts floor, zero, factor;

  [[gnu::always_inline]] ByteFinisher(const IntegerResults& out, size_t row, size_t column,
                                      size_t columns_of_a_panel)
      : c(out.c.bytes + row * out.stride + column),
        stride(out.stride),
        scales(out.scales + column),
        residual(out.epilogue.residual + row * out.epilogue.residual_stride + column),
        residual_stride(out.epilogue.residual_stride),
        panel_columns(columns_of_a_panel),
        residual_scale(out.epilogue.residual_scale),
        residual_zero(out.epilogue.residual_zero),
        floor(Primitives::shorts(out.epilogue.activation == Activation::kRelu ? 0 : INT16_MIN)),
        zero(Primitives::shorts(static_cast<int16_t>(out.epilogue.zero))),
        factor(Primitives::shorts(out.epilogue.silu_factor)) {}

  // The column of vector v of a tile's row.
  size_t column_of(size_t v) const {
    return v / kPanelVectors * panel_columns + v % kPanelVectors * kLanes;
  }

  // x = rint(t) of a sum in vector v of row r.
  [[gnu::always_inline]] Integers nearest(Integers sum, size_t r, size_t v) const {
    Floats t = Primitives::rounded(Primitives::to_floats(sum) * load(scales + column_of(v)));
    if (takes_residual_before(kEnd)) {
      const Integers bytes = Primitives::load_bytes(residual + r * residual_stride + column_of(v));
      t += Primitives::rounded(Primitives::to_floats(bytes - residual_zero) * residual_scale);
    }
    return Primitives::to_integers(t);
  }

  // Finishes the group whose first sum is that of row r and vector v, with as many of its rows as
  // the tile has. sum_at(r, v) returns the tile's sums.
  template <class SumAt>
  [[gnu::always_inline]] void finish(size_t r, size_t v, size_t tile_rows,
                                     const SumAt& sum_at) const {
    Integers x[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const size_t row = min_size(r + i / In::kVectors, tile_rows - 1);
      const size_t vector = v + i % In::kVectors;
      x[i] = nearest(sum_at(row, vector), row, vector);
    }
    Shorts first = Primitives::pack(x[0], x[1]), second = Primitives::pack(x[2], x[3]);
    uint8_t* outputs[In::kPanels];
    const uint8_t* residuals[In::kPanels];
#pragma GCC unroll 4
    for (size_t p = 0; p < In::kPanels; ++p) {
      const size_t row = min_size(r + p / In::kRowPanels, tile_rows - 1);
      const size_t column = column_of(v + p % In::kRowPanels * kPanelVectors);
      outputs[p] = c + row * stride + column;
      if (kEnd == ByteEnd::kSiluSum) residuals[p] = residual + row * residual_stride + column;
    }
    if (kEnd == ByteEnd::kClamped || kEnd == ByteEnd::kClampedAfterSum) {
      first = Primitives::add(Primitives::max(first, floor), zero);
      second = Primitives::add(Primitives::max(second, floor), zero);
    } else if (kEnd == ByteEnd::kSilu || kEnd == ByteEnd::kSiluSum) {
      Shorts after_first = zero, after_second = zero;
      if constexpr (kEnd == ByteEnd::kSiluSum)
        Primitives::unpack(Primitives::load_panels(residuals), after_first, after_second);
      first = Primitives::add(Primitives::silu(first, factor), after_first);
      second = Primitives::add(Primitives::silu(second, factor), after_second);
    }
    const size_t panels = min_size(tile_rows - r, In::kRows) * In::kRowPanels;
    Primitives::store_panels(Primitives::pack(first, second), outputs, panels);
  }
};

// Finishes sums [rows][kTileVectors * kLanes] in memory.
template <ByteEnd kEnd, size_t kTileVectors>
[[gnu::noinline]] void finish_bytes(const int32_t* sums, size_t rows, const IntegerResults& out,
                                    size_t row, size_t column, size_t panel_columns) {
  using In = Group<kTileVectors>;
  const ByteFinisher<kEnd, kTileVectors> finisher(out, row, column, panel_columns);
  const auto sum_at = [&](size_t r, size_t v) __attribute__((always_inline)) {
    return Integers::load_aligned(sums + (r * kTileVectors + v) * kLanes);
  };
  for (size_t r = 0; r + In::kRows <= rows; r += In::kRows) {
    for (size_t v = 0; v < kTileVectors; v += In::kVectors)
      finisher.finish(r, v, r + In::kRows, sum_at);
  }
  if (In::kRows > 1 && rows % In::kRows != 0)
    finisher.finish(rows / In::kRows * In::kRows, 0, rows, sum_at);
}

template <size_t kTileVectors>
void finish_to_bytes(const int32_t* sums, size_t rows, const IntegerResults& out, size_t row,
                     size_t column, size_t panel_columns) {
  switch (end_of(out.epilogue)) {
    case ByteEnd::kPlain:
      return finish_bytes<ByteEnd::kPlain, kTileVectors>(sums, rows, out, row, column,
                                                         panel_columns);
    case ByteEnd::kClamped:
      return finish_bytes<ByteEnd::kClamped, kTileVectors>(sums, rows, out, row, column,
                                                           panel_columns);
    case ByteEnd::kPlainAfterSum:
      return finish_bytes<ByteEnd::kPlainAfterSum, kTileVectors>(sums, rows, out, row, column,
                                                                 panel_columns);
    case ByteEnd::kClampedAfterSum:
      return finish_bytes<ByteEnd::kClampedAfterSum, kTileVectors>(sums, rows, out, row, column,
                                                                   panel_columns);
    case ByteEnd::kSilu:
      return finish_bytes<ByteEnd::kSilu, kTileVectors>(sums, rows, out, row, column,
                                                        panel_columns);
    case ByteEnd::kSiluSum:
      return finish_bytes<ByteEnd::kSiluSum, kTileVectors>(sums, rows, out, row, column,
                                                           panel_columns);
  }
}

// Finishes a tile whose last columns are not a whole panel: in a copy of what the epilogue reads,
// from which the columns that there are are copied to the output.
template <size_t kTileVectors>
[[gnu::noinline]] void finish_last_bytes(const int32_t* sums, size_t rows,
                                         const IntegerResults& out, size_t row, size_t column,
                                         size_t panel_columns) {
  constexpr size_t kPanels = kTileVectors / kPanelVectors, kColumns = kPanels * kPanelWidth;
  alignas(64) float scales[kColumns] = {};
  alignas(64) uint8_t bytes[kMaxTileRows * kColumns], residual[kMaxTileRows * kColumns] = {};
  const bool has_residual = out.epilogue.residual != nullptr;
  // Calls f(column of the copy, column of the output) for all that there are.
  const auto for_each_column = [&](const auto& f) {
    for (size_t j = 0; j < kColumns; ++j) {
      const size_t to = column + j / kPanelWidth * panel_columns + j % kPanelWidth;
      if (to < out.columns) f(j, to);
    }
  };
  for_each_column([&](size_t from, size_t to) {
    scales[from] = out.scales[to];
    for (size_t r = 0; has_residual && r < rows; ++r)
      residual[r * kColumns + from] =
          out.epilogue.residual[(row + r) * out.epilogue.residual_stride + to];
  });
  IntegerResults copy = out;
  copy.c.bytes = bytes;
  copy.stride = copy.columns = copy.epilogue.residual_stride = kColumns;
  copy.scales = scales;
  if (has_residual) copy.epilogue.residual = residual;
  finish_to_bytes<kTileVectors>(sums, rows, copy, 0, 0, kPanelWidth);
  for_each_column([&](size_t from, size_t to) {
    for (size_t r = 0; r < rows; ++r)
      out.c.bytes[(row + r) * out.stride + to] = bytes[r * kColumns + from];
  });
}

// Finishes a panel of sums [rows][stride] to floats.
[[gnu::noinline]] void finish_floats(const int32_t* sums, size_t stride, size_t rows,
                                     const IntegerResults& out) {
  const IntegerEpilogue& epilogue = out.epilogue;
  const size_t columns = min_size(kPanelWidth, out.columns);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns; column += kLanes) {
      const size_t lanes = min_size(kLanes, columns - column);
      Floats t = Primitives::to_floats(Integers::load_aligned(sums + row * stride + column));
      t = Primitives::rounded(t * load_partial(out.scales + column, lanes));
      if (epilogue.residual != nullptr) {
        uint8_t bytes[kLanes] = {};
        const uint8_t* residual = epilogue.residual + row * epilogue.residual_stride + column;
        for (size_t i = 0; i < lanes; ++i) bytes[i] = residual[i];
        const Integers centred = Primitives::load_bytes(bytes) - Integers(epilogue.residual_zero);
        t += Primitives::rounded(Primitives::to_floats(centred) * Floats(epilogue.residual_scale));
      }
      if (epilogue.activation == Activation::kRelu) t = Primitives::max(t, Floats(0.0f));
      store_partial(out.c.floats + row * out.stride + column, t, lanes);
    }
  }
}

template <size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_integer_tile(Integers (&acc)[kRows][kVectors],
                                                       const IntegerResults& out, size_t row,
                                                       size_t column, size_t panel_columns) {
  constexpr size_t kPanels = kVectors / kPanelVectors;
  alignas(64) int32_t sums[kRows * kVectors * kLanes];
#pragma GCC unroll 64
  for (size_t i = 0; i < kRows * kVectors; ++i)
    acc[i / kVectors][i % kVectors].store_aligned(sums + i * kLanes);
  if (out.c.bytes == nullptr) {
    for (size_t panel = 0; panel < kPanels; ++panel) {
      finish_floats(sums + panel * kPanelWidth, kVectors * kLanes, kRows,
                    part_of(out, row, column + panel * panel_columns));
    }
  } else if (column + (kPanels - 1) * panel_columns + kPanelWidth <= out.columns) {
    finish_to_bytes<kVectors>(sums, kRows, out, row, column, panel_columns);
  } else {
    finish_last_bytes<kVectors>(sums, kRows, out, row, column, panel_columns);
  }
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_INTEGER_EPILOGUE_INL_
