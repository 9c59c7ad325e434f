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
};

// Finishes tiles of kTileVectors vectors a row to bytes. The output's columns are whole panels.
template <ByteEnd kEnd, size_t kTileVectors>
struct ByteFinisher {
  using In = Group<kTileVectors>;
  using Shorts = typename Primitives::Shorts;
  uint8_t* c;
  size_t stride;
  const float* scales;
  const uint8_t* residual;
  size_t residual_stride;
  Floats residual_scale;
  Integers residual_zero;
  Shorts floor, zero, factor;

  [[gnu::always_inline]] ByteFinisher(const IntegerResults& out, size_t row, size_t column)
      : c(out.c.bytes + row * out.stride + column),
        stride(out.stride),
        scales(out.scales + column),
        residual(out.epilogue.residual + row * out.epilogue.residual_stride + column),
        residual_stride(out.epilogue.residual_stride),
        residual_scale(out.epilogue.residual_scale),
        residual_zero(out.epilogue.residual_zero),
        floor(Primitives::shorts(out.epilogue.activation == Activation::kRelu ? 0 : INT16_MIN)),
        zero(Primitives::shorts(static_cast<int16_t>(out.epilogue.zero))),
        factor(Primitives::shorts(out.epilogue.silu_factor)) {}

  // x = rint(t) of a sum in vector v of row r.
  [[gnu::always_inline]] Integers nearest(Integers sum, size_t r, size_t v) const {
    Floats t = Primitives::rounded(Primitives::to_floats(sum) * load(scales + v * kLanes));
    if (takes_residual_before(kEnd)) {
      const Integers bytes = Primitives::load_bytes(residual + r * residual_stride + v * kLanes);
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
    const size_t rows = min_size(tile_rows - r, In::kRows);
    if (kEnd == ByteEnd::kClamped || kEnd == ByteEnd::kClampedAfterSum) {
      first = Primitives::add(Primitives::max(first, floor), zero);
      second = Primitives::add(Primitives::max(second, floor), zero);
    } else if (kEnd == ByteEnd::kSilu || kEnd == ByteEnd::kSiluSum) {
      Shorts after_first = zero, after_second = zero;
      if constexpr (kEnd == ByteEnd::kSiluSum)
        Primitives::unpack(Primitives::template load_rows<In::kRows>(
                               residual + r * residual_stride + v * kLanes, residual_stride, rows),
                           after_first, after_second);
      first = Primitives::add(Primitives::silu(first, factor), after_first);
      second = Primitives::add(Primitives::silu(second, factor), after_second);
    }
    Primitives::template store_rows<In::kRows>(Primitives::pack(first, second),
                                               c + r * stride + v * kLanes, stride, rows);
  }
};

// Finishes sums [rows][kTileVectors * kLanes] in memory to bytes of whole panels.
template <ByteEnd kEnd, size_t kTileVectors>
[[gnu::noinline]] void finish_bytes(const int32_t* sums, size_t rows, const IntegerResults& out,
                                    size_t row, size_t column) {
  using In = Group<kTileVectors>;
  // Callers have no more rows than a tile; the compiler, told so, unrolls the loop.
  if (rows > Primitives::kTile.mr) __builtin_unreachable();
  const ByteFinisher<kEnd, kTileVectors> finisher(out, row, column);
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
                     size_t column) {
  switch (end_of(out.epilogue)) {
    case ByteEnd::kPlain:
      return finish_bytes<ByteEnd::kPlain, kTileVectors>(sums, rows, out, row, column);
    case ByteEnd::kClamped:
      return finish_bytes<ByteEnd::kClamped, kTileVectors>(sums, rows, out, row, column);
    case ByteEnd::kPlainAfterSum:
      return finish_bytes<ByteEnd::kPlainAfterSum, kTileVectors>(sums, rows, out, row, column);
    case ByteEnd::kClampedAfterSum:
      return finish_bytes<ByteEnd::kClampedAfterSum, kTileVectors>(sums, rows, out, row, column);
    case ByteEnd::kSilu:
      return finish_bytes<ByteEnd::kSilu, kTileVectors>(sums, rows, out, row, column);
    case ByteEnd::kSiluSum:
      return finish_bytes<ByteEnd::kSiluSum, kTileVectors>(sums, rows, out, row, column);
  }
}

// Finishes a tile whose last columns are not a whole panel: in a copy of what the epilogue reads,
// from which the columns that there are are copied to the output.
template <size_t kTileVectors>
[[gnu::noinline]] void finish_last_bytes(const int32_t* sums, size_t rows,
                                         const IntegerResults& out, size_t row, size_t column) {
  constexpr size_t kColumns = kTileVectors * kLanes;
  alignas(64) float scales[kColumns] = {};
  alignas(64) uint8_t bytes[kMaxTileRows * kColumns], residual[kMaxTileRows * kColumns] = {};
  const IntegerResults part = part_of(out, row, column);
  IntegerResults copy = part;
  copy.c.bytes = bytes;
  copy.stride = copy.epilogue.residual_stride = kColumns;
  copy.scales = scales;
  for (size_t j = 0; j < part.columns; ++j) scales[j] = part.scales[j];
  if (part.epilogue.residual != nullptr) {
    copy.epilogue.residual = residual;
    for (size_t r = 0; r < rows; ++r) {
      const uint8_t* from = part.epilogue.residual + r * part.epilogue.residual_stride;
      for (size_t j = 0; j < part.columns; ++j) residual[r * kColumns + j] = from[j];
    }
  }
  finish_to_bytes<kTileVectors>(sums, rows, copy, 0, 0);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < part.columns; ++j)
      part.c.bytes[r * part.stride + j] = bytes[r * kColumns + j];
  }
}

// t of a sum in memory, for floats; `lanes` columns and residuals are read.
[[gnu::always_inline]] inline Floats finished_float(Integers sum, const IntegerResults& out,
                                                    size_t row, size_t column, size_t lanes) {
  const IntegerEpilogue& epilogue = out.epilogue;
  Floats t =
      Primitives::rounded(Primitives::to_floats(sum) * load_partial(out.scales + column, lanes));
  if (epilogue.residual != nullptr) {
    uint8_t bytes[kLanes] = {};
    const uint8_t* residual = epilogue.residual + row * epilogue.residual_stride + column;
    for (size_t i = 0; i < lanes; ++i) bytes[i] = residual[i];
    const Integers centred = Primitives::load_bytes(bytes) - Integers(epilogue.residual_zero);
    t += Primitives::rounded(Primitives::to_floats(centred) * Floats(epilogue.residual_scale));
  }
  return epilogue.activation == Activation::kRelu ? Primitives::max(t, Floats(0.0f)) : t;
}

// Finishes sums [rows][kTileVectors * kLanes] to floats.
template <size_t kTileVectors>
[[gnu::noinline]] void finish_floats(const int32_t* sums, size_t rows, const IntegerResults& out,
                                     size_t first_row, size_t first_column) {
  for (size_t r = 0; r < rows; ++r) {
    float* c = out.c.floats + (first_row + r) * out.stride;
    for (size_t v = 0; v < kTileVectors; ++v) {
      const size_t column = first_column + v * kLanes;
      const size_t lanes = columns_at(out.columns, column);
      if (lanes == 0) break;
      const Integers sum = Integers::load_aligned(sums + (r * kTileVectors + v) * kLanes);
      store_partial(c + column, finished_float(sum, out, first_row + r, column, lanes), lanes);
    }
  }
}

// Finishes sums [rows][kTileVectors * kLanes] in memory, of at most as many rows as a tile has.
template <size_t kTileVectors>
[[gnu::always_inline]] inline void finish_sums(const int32_t* sums, size_t rows,
                                               const IntegerResults& out, size_t row,
                                               size_t column) {
  if (out.c.bytes == nullptr) return finish_floats<kTileVectors>(sums, rows, out, row, column);
  const bool is_whole = column + kTileVectors * kLanes <= out.columns;
  is_whole ? finish_to_bytes<kTileVectors>(sums, rows, out, row, column)
           : finish_last_bytes<kTileVectors>(sums, rows, out, row, column);
}

// Finishes a tile of whole panels in registers.
template <ByteEnd kEnd, size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_in_registers(Integers (&acc)[kRows][kVectors],
                                                       const IntegerResults& out, size_t row,
                                                       size_t column) {
  using In = Group<kVectors>;
  const ByteFinisher<kEnd, kVectors> finisher(out, row, column);
  const auto sum_at = [&](size_t r, size_t v) __attribute__((always_inline)) { return acc[r][v]; };
#pragma GCC unroll 16
  for (size_t r = 0; r < kRows; r += In::kRows) {
#pragma GCC unroll 16
    for (size_t v = 0; v < kVectors; v += In::kVectors) finisher.finish(r, v, kRows, sum_at);
  }
}

// Finishes a tile to floats in registers, without a residual.
template <size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_floats_in_registers(Integers (&acc)[kRows][kVectors],
                                                              const IntegerResults& out, size_t row,
                                                              size_t first_column) {
  const Floats floor(out.epilogue.activation == Activation::kRelu ? 0.0f : -__builtin_huge_valf());
  float* c = out.c.floats + row * out.stride + first_column;
#pragma GCC unroll 16
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t column = first_column + v * kLanes;
    const size_t lanes = columns_at(out.columns, column);
    const Floats scale = load_partial(out.scales + column, lanes);
    Floats y[kRows];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r)
      y[r] = Primitives::max(Primitives::to_floats(acc[r][v]) * scale, floor);
    if (lanes == kLanes) {
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) store(c + r * out.stride + v * kLanes, y[r]);
    } else {
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r)
        Primitives::store_partial(c + r * out.stride + v * kLanes, y[r], lanes);
    }
  }
}

// Finishes a tile, whose panels are side by side.
template <size_t kRows, size_t kVectors>
[[gnu::always_inline]] inline void finish_integer_tile(Integers (&acc)[kRows][kVectors],
                                                       const IntegerResults& out, size_t row,
                                                       size_t column) {
  const bool is_whole = column + kVectors * kLanes <= out.columns;
  if (kRows == Primitives::kTile.mr && out.c.bytes == nullptr && out.epilogue.residual == nullptr)
    return finish_floats_in_registers(acc, out, row, column);
  // With 16 registers, sums would leave no room for the epilogue.
  if (kManyRegisters && kRows == Primitives::kTile.mr && is_whole && out.c.bytes != nullptr) {
    switch (end_of(out.epilogue)) {
      case ByteEnd::kPlain:
        return finish_in_registers<ByteEnd::kPlain>(acc, out, row, column);
      case ByteEnd::kPlainAfterSum:
        return finish_in_registers<ByteEnd::kPlainAfterSum>(acc, out, row, column);
      case ByteEnd::kSilu:
        return finish_in_registers<ByteEnd::kSilu>(acc, out, row, column);
      default:
        break;
    }
  }
  alignas(64) int32_t sums[kRows * kVectors * kLanes];
#pragma GCC unroll 64
  for (size_t i = 0; i < kRows * kVectors; ++i)
    acc[i / kVectors][i % kVectors].store_aligned(sums + i * kLanes);
  finish_sums<kVectors>(sums, kRows, out, row, column);
}

}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_INTEGER_EPILOGUE_INL_
