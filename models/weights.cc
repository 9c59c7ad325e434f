#include "models/weights.h"

#include <cstring>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

// The tensor's name without .weight; lives as long as the file.
std::string_view module_of(const TensorEntry& weight) {
  return weight.name.substr(0, weight.name.rfind('.'));
}

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
    const std::string expected =
        spec.name + " " + dims_text(spec.shape) + " in " + layout_name(spec.layout);
    if (tensor == nullptr) {
      add("missing: " + expected);
    } else if (tensor->dims != spec.shape || tensor->layout != spec.layout) {
      add("expected " + expected + ", found " + dims_text(tensor->dims) + " in " +
          layout_name(tensor->layout));
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
  const auto padded_floats = [](const TensorEntry& tensor) {
    return (tensor.bytes / sizeof(uint16_t) + kLineFloats - 1) / kLineFloats * kLineFloats;
  };
  const auto is_widened = [](const TensorEntry& tensor) {
    return tensor.type != DataType::kF32 && tensor.layout == Layout::kRowMajor;
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
    const uint8_t* halves = file_.data(tensor);
    const auto widen_one = tensor.type == DataType::kF16 ? widen_f16 : widen_bf16;
    for (size_t i = 0; i < tensor.bytes / sizeof(uint16_t); ++i) {
      uint16_t half;
      std::memcpy(&half, halves + i * sizeof half, sizeof half);
      next[i] = widen_one(half);
    }
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

PackedMatrix Weights::packed(const std::string& name) const {
  const TensorEntry& tensor = entry(name);
  size_t depth = 1;
  for (size_t i = 1; i < tensor.dims.size(); ++i) depth *= tensor.dims[i];
  return {file_.data(tensor), tensor.dims[0], depth, tensor.type};
}

void Weights::Loader::tensor(const TensorSpec& spec, const std::vector<Dim>&, const Slot& slot) {
  if (slot.matrix != nullptr) *slot.matrix = weights_.packed(spec.name);
  if (slot.values != nullptr) *slot.values = weights_.floats(spec.name);
  if (slot.module != nullptr) *slot.module = module_of(weights_.entry(spec.name));
}

size_t Weights::bytes() const { return file_.bytes().size + widened_bytes_; }

size_t Weights::values() const {
  size_t count = 0;
  for (const TensorEntry& tensor : file_.tensors())
    count += tensor.bytes / data_type_bytes(tensor.type);
  return count;
}

}  // namespace lightcap::internal
