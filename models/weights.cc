#include "models/weights.h"

#include <cmath>
#include <cstdlib>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"

namespace lightcap::internal {
namespace {

// The tensor's name without .weight; lives as long as the file.
std::string_view module_of(const TensorEntry& weight) {
  return weight.name.substr(0, weight.name.rfind('.'));
}

// "[64, 3] in panels of 16"; of integers their type comes first.
std::string form_text(DataType type, const std::vector<uint64_t>& dims, Layout layout) {
  const std::string number = is_float(type) ? "" : std::string(data_type_name(type)) + " ";
  return number + dims_text(dims) + " in " + layout_name(layout);
}

// Throws where a number of an int8 model, forged or damaged, would make the arithmetic leave the
// ranges that the kernels are written for.
class QuantizationCheck {
 public:
  QuantizationCheck(const std::string& source, const std::string& layer)
      : source_(source), layer_(layer) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kModel, source_ + ": the int8 layer " + layer_ + " " + what);
  }
  float scale(const char* what, float x) const {
    if (!(x > 0) || !std::isfinite(x)) fail(std::string(what) + " is not a positive number");
    return x;
  }
  // A whole number up to `highest`.
  int32_t whole(const char* what, float x, int32_t highest) const {
    if (!(x >= 0 && x <= static_cast<float>(highest)) || std::trunc(x) != x) {
      fail(std::string("has a ") + what + " that is not a whole number from 0 to " +
           std::to_string(highest));
    }
    return static_cast<int32_t>(x);
  }

 private:
  const std::string& source_;
  const std::string& layer_;
};

// Products of a byte and a weight are no larger than this.
constexpr int64_t kLargestProduct = 255 * 127;
// Numbers that are rounded to integers must stay below this.
constexpr double kRoundable = 1 << 30;

}  // namespace

Weights::Weights(WeightsFile file) : file_(std::move(file)), config_(read_config(file_)) {
  check_schema();
  widen();
}

void Weights::check_schema() const {
  constexpr size_t kListed = 20;  // a file of another kind differs in hundreds
  std::string wrong;
  size_t count = 0;
  const auto add = [&](const std::string& line) {
    if (count++ < kListed) wrong += "\n  " + line;
  };
  for (const TensorSpec& spec : schema(config_)) {
    const TensorEntry* tensor = file_.find_tensor(spec.name);
    const std::string expected = spec.name + " " + form_text(spec.type, spec.shape, spec.layout);
    if (tensor == nullptr) {
      add("missing: " + expected);
    } else if (tensor->dims != spec.shape || tensor->layout != spec.layout ||
               (tensor->type != spec.type && !(is_float(tensor->type) && is_float(spec.type)))) {
      add("expected " + expected + ", found " +
          form_text(tensor->type, tensor->dims, tensor->layout));
    }
  }
  if (count == 0) return;
  if (count > kListed) wrong += "\n  and " + std::to_string(count - kListed) + " more";
  throw Error(ErrorCode::kModel,
              file_.source() + ": the tensors are not those of a LightCap model:" + wrong);
}

void Weights::widen() {
  size_t total = 0;
  constexpr size_t kLineFloats = 16;
  const auto elements = [](const TensorEntry& tensor) {
    return tensor.bytes / data_type_bytes(tensor.type);
  };
  const auto padded_floats = [&](const TensorEntry& tensor) {
    return (elements(tensor) + kLineFloats - 1) / kLineFloats * kLineFloats;
  };
  const auto is_widened = [](const TensorEntry& tensor) {
    return tensor.layout == Layout::kRowMajor && is_narrow(tensor.type);
  };
  for (const TensorEntry& tensor : file_.tensors()) {
    if (is_widened(tensor)) total += padded_floats(tensor);
  }
  if (total == 0) return;
  widened_bytes_ = total * sizeof(float);
  widened_ = allocate_block(widened_bytes_);
  auto* next = static_cast<float*>(widened_.get());
  for (const TensorEntry& tensor : file_.tensors()) {
    if (!is_widened(tensor)) continue;
    widened_at_[&tensor] = next;
    for (size_t i = 0; i < elements(tensor); ++i)
      next[i] = widened(file_.data(tensor), tensor.type, i);
    next += padded_floats(tensor);
  }
}

const TensorEntry& Weights::entry(const std::string& name) const {
  const TensorEntry* tensor = file_.find_tensor(name);
  if (tensor == nullptr) throw Error(ErrorCode::kInternal, "the schema lacks the tensor " + name);
  return *tensor;
}

const float* Weights::floats(const std::string& name) const {
  const TensorEntry& tensor = entry(name);
  const auto widened = widened_at_.find(&tensor);
  if (widened != widened_at_.end()) return widened->second;
  if (tensor.type != DataType::kF32)
    throw Error(ErrorCode::kInternal, name + " is in panels of " + data_type_name(tensor.type));
  return reinterpret_cast<const float*>(file_.data(tensor));
}

const int32_t* Weights::integers(const std::string& name) const {
  return reinterpret_cast<const int32_t*>(file_.data(entry(name)));
}

PackedMatrix Weights::packed(const std::string& name) const {
  const TensorEntry& tensor = entry(name);
  size_t depth = 1;
  for (size_t i = 1; i < tensor.dims.size(); ++i) depth *= tensor.dims[i];
  return {file_.data(tensor), tensor.dims[0], depth, tensor.type};
}

void Weights::Loader::tensor(const TensorSpec& spec, const std::vector<Dim>&, const Slot& slot) {
  if (slot.matrix != nullptr) *slot.matrix = weights_.packed(spec.name);
  if (slot.values != nullptr) *slot.values = weights_.floats(spec.name);
  if (slot.integers != nullptr) *slot.integers = weights_.integers(spec.name);
  if (slot.module != nullptr) *slot.module = module_of(weights_.entry(spec.name));
}

void Weights::Loader::quantized(PackedMatrix& matrix, const std::string& name) {
  const QuantizationCheck check(weights_.file_.source(), name);
  if (matrix.depth > kMaxIntegerDepth) {
    check.fail("has the depth " + std::to_string(matrix.depth) + ", the limit is " +
               std::to_string(kMaxIntegerDepth));
  }
  const int64_t largest_sum = 127 * static_cast<int64_t>(matrix.depth);
  for (size_t i = 0; i < matrix.outputs; ++i) {
    check.scale("has a scale that", matrix.scales[i]);
    if (std::abs(int64_t{matrix.sums[i]}) > largest_sum)
      check.fail("has a sum that its weights cannot have");
  }
}

void Weights::Loader::quantized(Conv& conv, const std::string& name, const float* numbers) {
  const QuantizationCheck check(weights_.file_.source(), name);
  if (conv.in % kQuad != 0)
    check.fail("has " + std::to_string(conv.in) + " input channels, expected a multiple of 4");
  ConvQuantization& quantization = conv.quantization;
  quantization.input_zero = static_cast<uint8_t>(check.whole("zero", numbers[0], 255));
  if (numbers[1] != 0)
    quantization.output_scale = check.scale("has an output scale that", numbers[1]);
  quantization.output_zero = static_cast<uint8_t>(check.whole("zero", numbers[2], 255));
  quantization.residual_scale = numbers[3];
  if (numbers[3] != 0) check.scale("has a residual scale that", numbers[3]);
  if (255 * double{numbers[3]} >= kRoundable / 2) check.fail("has too large a residual scale");
  quantization.residual_zero = static_cast<uint8_t>(check.whole("zero", numbers[4], 255));
  quantization.silu_factor = static_cast<int16_t>(check.whole("SiLU factor", numbers[5], 32767));
  const int64_t largest_sum = kLargestProduct * static_cast<int64_t>(conv.weights.depth);
  for (size_t i = 0; i < conv.out(); ++i) {
    const int64_t largest = largest_sum + std::abs(int64_t{quantization.bias[i]});
    const double result = static_cast<double>(largest) * double{conv.weights.scales[i]};
    if (largest > INT32_MAX || result >= kRoundable / 2)
      check.fail("has a bias or scale with which its sums may run over");
  }
}

size_t Weights::bytes() const { return file_.bytes().size + widened_bytes_; }

size_t Weights::values() const {
  size_t count = 0;
  for (const TensorEntry& tensor : file_.tensors())
    count += tensor.bytes / data_type_bytes(tensor.type);
  return count;
}

}  // namespace lightcap::internal
