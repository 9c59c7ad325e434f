#include "tests/kernels/integer_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/pack.h"

namespace lightcap::internal::testing {

void fill_bytes(Random& random, uint8_t* data, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t kind = random.bits() % 10;
    data[i] = kind == 0 ? 0 : kind == 1 ? 255 : static_cast<uint8_t>(random.bits());
  }
}

namespace {

int random_weight(Random& random) {
  const uint32_t kind = random.bits() % 10;
  if (kind == 0) return 127;
  if (kind == 1) return -127;
  return static_cast<int>(random.bits() % 255) - 127;
}

}  // namespace

RandomQuads::RandomQuads(size_t outputs, size_t depth, Random& random, float spread)
    : memory_(panel_elements(outputs, depth, DataType::kI8) / sizeof(float)),
      scales_(outputs),
      sums_(outputs),
      matrix_{memory_.data(), outputs, depth, DataType::kI8, scales_.data(), sums_.data()} {
  std::vector<int8_t> rows(outputs * depth);
  // A weight is some 75 in absolute value and a byte 145, of either sign in a sum.
  const float size = spread / (75 * 145 * std::sqrt(static_cast<float>(depth) + 1));
  for (size_t output = 0; output < outputs; ++output) {
    for (size_t k = 0; k < depth; ++k) {
      int weight = random_weight(random);
      if (k % 2 == 1) {
        const int before = rows[output * depth + k - 1];
        if (before > 0) weight = std::min(weight, 128 - before);
        if (before < 0) weight = std::max(weight, -128 - before);
      }
      rows[output * depth + k] = static_cast<int8_t>(weight);
      sums_[output] += weight;
    }
    scales_[output] = size * (1.25f + random.uniform());
  }
  pack_quad_panels(rows.data(), outputs, depth, 1, reinterpret_cast<int8_t*>(memory_.data()));
}

IntegerEpilogueKind IntegerEpilogueKind::nth(size_t i) {
  constexpr Residual kBefore[] = {Residual::kNone, Residual::kBefore, Residual::kInPlaceBefore};
  constexpr Residual kAfter[] = {Residual::kNone, Residual::kAfter, Residual::kInPlaceAfter};
  constexpr Activation kActivations[] = {Activation::kNone, Activation::kRelu, Activation::kSilu};
  i %= kCount;
  if (i >= 18) {  // floats, whose residuals are bytes still and elsewhere
    i -= 18;
    return {kActivations[i % 2], i / 2 % 3 == 1 ? Residual::kBefore : Residual::kNone, true,
            i / 2 == 2 ? 20000.0f : 64.0f};
  }
  const Activation activation = kActivations[i % 3];
  const bool saturates = i >= 9;
  const bool is_silu = activation == Activation::kSilu;
  return {activation, (is_silu ? kAfter : kBefore)[i / 3 % 3], false,
          is_silu     ? (saturates ? 40000.0f : 2000.0f)
          : saturates ? 20000.0f
                      : 64.0f};
}

std::string IntegerEpilogueKind::name() const {
  constexpr const char* kResiduals[] = {"", " +residual", " residual after", " +itself",
                                        " itself after"};
  constexpr const char* kActivations[] = {"", " relu", " silu"};
  return std::string(kResiduals[static_cast<size_t>(residual)]) +
         kActivations[static_cast<size_t>(activation)] + (is_float ? " to floats" : "") +
         (spread > 10000 ? " saturating" : "");
}

IntegerProductOutput::IntegerProductOutput(const Shape& shape, const IntegerEpilogueKind& kind,
                                           Random& random)
    : shape_(shape),
      kind_(kind),
      element_(kind.is_float ? sizeof(float) : 1),
      actual_(strided_floats(shape.rows, shape.columns, shape.stride) * element_),
      expected_(actual_.size()),
      residual_(kind.residual == Residual::kNone ? 0 : actual_.size() / element_),
      bias_(shape.columns),
      zero_(static_cast<int32_t>(random.bits() % 256)),
      residual_zero_(static_cast<int32_t>(random.bits() % 256)),
      silu_factor_(static_cast<int16_t>(random.bits() % 3000 + 100)) {
  // The corners of the contract, as often as what is between.
  if (random.bits() % 2 == 0) zero_ = 0;
  if (random.bits() % 3 == 0) residual_zero_ = 0;
  for (int32_t& bias : bias_) bias = static_cast<int32_t>(random.bits() % 20001) - 10000;
  fill_bytes(random, residual_.data(), residual_.size());
}

bool IntegerProductOutput::in_place() const {
  return kind_.residual == Residual::kInPlaceBefore || kind_.residual == Residual::kInPlaceAfter;
}

IntegerOutput IntegerProductOutput::prepared(GuardedBytes& output) const {
  if (in_place()) std::memcpy(output.data(), residual_.data(), residual_.size());
  if (kind_.is_float) return {nullptr, reinterpret_cast<float*>(output.data())};
  return {output.data(), nullptr};
}

IntegerEpilogue IntegerProductOutput::epilogue(const IntegerOutput& output) const {
  IntegerEpilogue epilogue;
  epilogue.bias = bias_.data();
  if (kind_.residual != Residual::kNone) {
    epilogue.residual = in_place() ? output.bytes : residual_.data();
    epilogue.residual_stride = shape_.stride;
  }
  epilogue.residual_after =
      kind_.residual == Residual::kAfter || kind_.residual == Residual::kInPlaceAfter;
  epilogue.residual_scale = 0.37f;
  epilogue.residual_zero = residual_zero_;
  epilogue.activation = kind_.activation;
  epilogue.zero = zero_;
  epilogue.silu_factor = silu_factor_;
  return epilogue;
}

void IntegerProductOutput::forget() {
  for (size_t i = 0; i < actual_.size(); ++i)
    actual_[i] = static_cast<uint8_t>(expected_[i] ^ 0x55);
}

std::string IntegerProductOutput::compare() {
  std::string difference;
  const size_t row_bytes = shape_.stride * element_;
  for (size_t i = 0; i < actual_.size() && difference.empty(); ++i) {
    const size_t row = i / row_bytes, column = i % row_bytes / element_;
    const bool is_asked = column < shape_.columns && row >= shape_.first_row &&
                          row < shape_.first_row + shape_.used_rows;
    // Elsewhere stands what stood there before: the residual, or what forget() wrote.
    const uint8_t allowed = is_asked     ? expected_[i]
                            : in_place() ? residual_[i]
                                         : static_cast<uint8_t>(expected_[i] ^ 0x55);
    if (actual_[i] == allowed) continue;
    difference = "byte " + std::to_string(i % element_) + " of [" + std::to_string(row) + "][" +
                 std::to_string(column) + "] is " + std::to_string(actual_[i]) + ", expected " +
                 std::to_string(allowed) + (is_asked ? "" : ", which was not to be written");
  }
  forget();
  return difference;
}

}  // namespace lightcap::internal::testing
