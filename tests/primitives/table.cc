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
void exp_of_minus_to(const float* x, float* out) { store(out, exp_of_minus(load(x))); }
void sigmoid_to(const float* x, float* out) { store(out, sigmoid(load(x))); }
void gelu_to(const float* x, float* out) { store(out, gelu(load(x))); }
float sum_lanes_of(const float* x) { return sum_lanes(load(x)); }
float max_lanes_of(const float* x) { return max_lanes(load(x)); }

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
    .exp_of_minus = exp_of_minus_to,
    .sigmoid = sigmoid_to,
    .gelu = gelu_to,
    .sum_lanes = sum_lanes_of,
    .max_lanes = max_lanes_of,
};
}  // namespace primitives
}  // namespace lightcap::internal
