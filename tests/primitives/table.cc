// Compiled once for each row of isa.def, as kernels/simd/table.cc is and under the same rules, into
// the test program alone.
#include "tests/primitives/primitive_table.h"

#include "kernels/simd/activation.inl"
#include "kernels/simd/primitives.inl"
#include "kernels/simd/widen.inl"

namespace lightcap::internal {
namespace {

void load_partial_to(const float* p, size_t count, float* out) {
  store(out, load_partial(p, count));
}
void store_partial_of(float* p, const float* x, size_t count) { store_partial(p, load(x), count); }
void first_lanes_or_to(const float* x, size_t count, float rest, float* out) {
  store(out, first_lanes_or(load(x), count, rest));
}
void multiply_add_to(const float* x, const float* y, const float* z, float* out) {
  store(out, multiply_add(load(x), load(y), load(z)));
}
void add_product_to(float* sum, const float* x, const float* y) {
  Floats in_place = load(sum);
  add_product(in_place, load(x), load(y));
  store(sum, in_place);
}
void min_to(const float* x, const float* y, float* out) {
  store(out, Primitives::min(load(x), load(y)));
}
void max_to(const float* x, const float* y, float* out) {
  store(out, Primitives::max(load(x), load(y)));
}
void divide_to(const float* x, const float* y, float* out) { store(out, divide(load(x), load(y))); }
void load_half_to(const uint16_t* p, float* out) { store(out, Primitives::load_half(p)); }
void load_bfloat_to(const uint16_t* p, float* out) { store(out, Primitives::load_bfloat(p)); }
void load_bfloat_panel_to(const uint16_t* p, float* out) {
  Floats step[1][kPanelVectors];
  for (size_t v = 0; v < kPanelVectors; ++v)
    step[0][v] = load_of_panel(reinterpret_cast<const Bfloat*>(p), v);
  order_outputs<Bfloat>(step);
  for (size_t v = 0; v < kPanelVectors; ++v) store(out + v * kLanes, step[0][v]);
}
void widen_to(const float* x, double* out) {
  Doubles halves[2];
  Primitives::widen(load(x), halves);
  for (size_t i = 0; i < 2; ++i) halves[i].store_unaligned(out + i * Doubles::size);
}
void store_narrow_of(const double* x, float* out) {
  Primitives::store_narrow(
      out, {Doubles::load_unaligned(x), Doubles::load_unaligned(x + Doubles::size)});
}
void exp_of_minus_to(const float* x, float* out) { store(out, exp_of_minus(load(x))); }
void sigmoid_to(const float* x, float* out) { store(out, sigmoid(load(x))); }
void gelu_to(const float* x, float* out) { store(out, gelu(load(x))); }
float sum_lanes_of(const float* x) { return sum_lanes(load(x)); }
float max_lanes_of(const float* x) { return max_lanes(load(x)); }

void rounded_product_plus_to(const float* x, const float* y, const float* z, float* out) {
  store(out, Primitives::rounded(load(x) * load(y)) + load(z));
}
void to_integers_to(const float* x, int32_t* out) {
  Primitives::to_integers(load(x)).store_unaligned(out);
}
void to_floats_to(const int32_t* x, float* out) { store(out, Primitives::to_floats(load(x))); }
void add_dots_to(int32_t* sum, const uint8_t* quad, const int8_t* weights) {
  Integers in_place = load(sum);
  Quad bytes;
  __builtin_memcpy(&bytes, quad, sizeof bytes);
  Primitives::add_dots(in_place, Primitives::broadcast(bytes),
                       load(reinterpret_cast<const int32_t*>(weights)));
  in_place.store_unaligned(sum);
}
template <size_t kQuadOfRow>
void add_one_of(int32_t* sum, typename Primitives::RowQuads quads, const int8_t* weights) {
  Integers in_place = load(sum);
  Primitives::template add_dots_of<kQuadOfRow>(in_place, quads,
                                               load(reinterpret_cast<const int32_t*>(weights)));
  in_place.store_unaligned(sum);
}
void add_dots_of_to(int32_t* sum, const uint8_t* quads, size_t quad, const int8_t* weights) {
  constexpr decltype(&add_one_of<0>) kOfEach[] = {add_one_of<0>, add_one_of<1>, add_one_of<2>,
                                                  add_one_of<3>};
  kOfEach[quad](sum, Primitives::load_quads(reinterpret_cast<const Quad*>(quads)), weights);
}
// `Row` is Primitives: only where it multiplies blocks are there such functions.
template <class Row, size_t kQuads>
void add_blocks_of(int32_t* sums, const uint8_t* rows, size_t stride, const int8_t* weights) {
  const auto weights_of = [&](size_t quad) {
    return load(reinterpret_cast<const int32_t*>(weights + quad * kQuad * kLanes));
  };
  Integers first = load(sums), second = load(sums + kLanes);
  Integers lower = weights_of(0), upper = kQuads == 2 ? weights_of(1) : Integers(0);
  const auto quads_at = [&](size_t at) { return reinterpret_cast<const Quad*>(rows + at); };
  const Integers block = Row::template load_block<kQuads>(quads_at(0), quads_at(stride));
  Row::exchange_halves(first, second);
  Row::interleave(lower, upper);
  Row::add_blocks(first, block, lower);
  Row::add_blocks(second, block, upper);
  Row::exchange_halves(first, second);
  first.store_unaligned(sums);
  second.store_unaligned(sums + kLanes);
}
template <class Row>
constexpr auto add_blocks_or_null() -> decltype(testing::PrimitiveTable::add_blocks) {
  if constexpr (Row::kMultipliesBlocks) {
    return
        [](int32_t* sums, const uint8_t* rows, size_t stride, size_t quads, const int8_t* weights) {
          (quads == 1 ? add_blocks_of<Row, 1> : add_blocks_of<Row, 2>)(sums, rows, stride, weights);
        };
  }
  return nullptr;
}
void add_pairs_to(int32_t* sum, const int16_t* row, const int16_t* weights) {
  Integers in_place = load(sum);
  Primitives::add_pairs(in_place, load(reinterpret_cast<const int32_t*>(row)),
                        load(reinterpret_cast<const int32_t*>(weights)));
  in_place.store_unaligned(sum);
}
void load_bytes_to(const uint8_t* p, int32_t* out) {
  Primitives::load_bytes(p).store_unaligned(out);
}

using Shorts = typename Primitives::Shorts;
using Bytes = typename Primitives::Bytes;

void pack_shorts(const int32_t* x, Shorts& first, Shorts& second) {
  first = Primitives::pack(load(x), load(x + kLanes));
  second = Primitives::pack(load(x + 2 * kLanes), load(x + 3 * kLanes));
}
void to_bytes_to(const int32_t* x, int16_t floor, int16_t added, uint8_t* out) {
  Shorts first, second;
  pack_shorts(x, first, second);
  first =
      Primitives::add(Primitives::max(first, Primitives::shorts(floor)), Primitives::shorts(added));
  second = Primitives::add(Primitives::max(second, Primitives::shorts(floor)),
                           Primitives::shorts(added));
  const Bytes bytes = Primitives::pack(first, second);
  __builtin_memcpy(out, &bytes, sizeof bytes);
}
void silu_to(const int32_t* x, int16_t factor, const uint8_t* added, uint8_t* out) {
  Shorts first, second, added_first, added_second;
  pack_shorts(x, first, second);
  Bytes bytes;
  __builtin_memcpy(&bytes, added, sizeof bytes);
  Primitives::unpack(bytes, added_first, added_second);
  const Shorts factors = Primitives::shorts(factor);
  bytes = Primitives::pack(Primitives::add(Primitives::silu(first, factors), added_first),
                           Primitives::add(Primitives::silu(second, factors), added_second));
  __builtin_memcpy(out, &bytes, sizeof bytes);
}
void split_to(const int32_t* x, uint8_t* high, uint8_t* low) {
  Shorts first, second;
  pack_shorts(x, first, second);
  Bytes upper, lower;
  Primitives::split(first, second, upper, lower);
  __builtin_memcpy(high, &upper, sizeof upper);
  __builtin_memcpy(low, &lower, sizeof lower);
}
template <size_t kRows>
void load_rows_of(const uint8_t* p, size_t stride, size_t count, uint8_t* out) {
  const Bytes bytes = Primitives::template load_rows<kRows>(p, stride, count);
  __builtin_memcpy(out, &bytes, sizeof bytes);
}
void load_rows_to(size_t rows, const uint8_t* p, size_t stride, size_t count, uint8_t* out) {
  if (rows == 1) return load_rows_of<1>(p, stride, count, out);
  if constexpr (kLanes >= 8) {
    if (rows == 2) return load_rows_of<2>(p, stride, count, out);
  }
  if constexpr (kLanes >= 16) {
    if (rows == 4) return load_rows_of<4>(p, stride, count, out);
  }
}
void store_rows_to(size_t rows, const uint8_t* in, uint8_t* p, size_t stride, size_t count) {
  Bytes bytes;
  __builtin_memcpy(&bytes, in, sizeof bytes);
  if (rows == 1) return Primitives::template store_rows<1>(bytes, p, stride, count);
  if constexpr (kLanes >= 8) {
    if (rows == 2) return Primitives::template store_rows<2>(bytes, p, stride, count);
  }
  if constexpr (kLanes >= 16) {
    if (rows == 4) return Primitives::template store_rows<4>(bytes, p, stride, count);
  }
}

}  // namespace

namespace primitives {
extern const testing::PrimitiveTable LIGHTCAP_ISA_NAME;
const testing::PrimitiveTable LIGHTCAP_ISA_NAME = {
    .isa = LIGHTCAP_STRING(LIGHTCAP_ISA_NAME),
    .lanes = kLanes,
    .is_fused = Primitives::kIsFused,
    .registers = Primitives::kRegisters,
    .tile_rows = Primitives::kTile.mr,
    .tile_panels = Primitives::kTile.nr_panels,
    .load_partial = load_partial_to,
    .store_partial = store_partial_of,
    .first_lanes_or = first_lanes_or_to,
    .multiply_add = multiply_add_to,
    .add_product = add_product_to,
    .divide = divide_to,
    .min = min_to,
    .max = max_to,
    .load_half = load_half_to,
    .load_bfloat = load_bfloat_to,
    .load_bfloat_panel = load_bfloat_panel_to,
    .widen = widen_to,
    .store_narrow = store_narrow_of,
    .exp_of_minus = exp_of_minus_to,
    .sigmoid = sigmoid_to,
    .gelu = gelu_to,
    .sum_lanes = sum_lanes_of,
    .max_lanes = max_lanes_of,
    .byte_offset = Primitives::kByteOffset,
    .rounded_product_plus = rounded_product_plus_to,
    .to_integers = to_integers_to,
    .to_floats = to_floats_to,
    .add_dots = add_dots_to,
    .quads_of_rows = Primitives::kQuadsOfRows,
    .add_dots_of = Primitives::kQuadsOfRows > 1 ? add_dots_of_to : nullptr,
    .add_blocks = add_blocks_or_null<Primitives>(),
    .add_pairs = add_pairs_to,
    .load_bytes = load_bytes_to,
    .to_bytes = to_bytes_to,
    .silu = silu_to,
    .split = split_to,
    .load_rows = load_rows_to,
    .store_rows = store_rows_to,
};
}  // namespace primitives
}  // namespace lightcap::internal
