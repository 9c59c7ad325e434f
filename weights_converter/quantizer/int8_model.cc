#include "weights_converter/quantizer/int8_model.h"

#include <algorithm>
#include <cstring>

#include "engine/runtime/block.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "models/schema.h"
#include "weights_converter/key_values.h"

namespace lightcap::internal {
namespace {

// The module of one of its tensors, or of a matrix that stands alone.
std::string module_of(const std::string& tensor) {
  for (const std::string_view part : {".weight", ".scale", ".sum", ".bias", ".quantization"}) {
    if (tensor.ends_with(part)) return tensor.substr(0, tensor.size() - part.size());
  }
  return tensor;
}

bool is_conv(const std::vector<uint64_t>& shape) { return shape.size() == 4; }

template <class Number>
void copy_values(const std::vector<Number>& values, std::span<Number> out) {
  std::copy(values.begin(), values.end(), out.begin());
}

// The pairs of the file, but for the configuration.
std::vector<PlannedKeyValue> key_values(const WeightsFile& file, const Config& config,
                                        const std::vector<std::string>& sources) {
  std::vector<PlannedKeyValue> result = config_key_values(config);
  const size_t own = result.size();
  const auto is_own = [&](std::string_view key) {
    return std::any_of(result.begin(), result.begin() + static_cast<ptrdiff_t>(own),
                       [&](const PlannedKeyValue& pair) { return pair.key == key; });
  };
  for (const WeightsFile::KeyValue& pair : file.key_values()) {
    if (is_own(pair.key)) continue;
    PlannedKeyValue copy = {std::string(pair.key), owned_value(pair.value)};
    if (pair.key == "producer") copy.value = std::string("lightcap-quantize ") + LIGHTCAP_VERSION;
    auto* lines = std::get_if<std::vector<std::string>>(&copy.value);
    if (pair.key == "sources" && lines != nullptr)
      lines->insert(lines->end(), sources.begin(), sources.end());
    result.push_back(std::move(copy));
  }
  return result;
}

// A model and the file that it borrows.
struct HeldModel {
  Block memory;
  std::optional<Model> model;
};

}  // namespace

void check_quantizable(const Weights& model) {
  const std::string source = printable(model.file().source());
  if (model.config().is_int8())
    throw Error(ErrorCode::kModel, source + ": is an int8 model already");
  for (const TensorSpec& spec : schema(int8_config(model.config()))) {
    if (spec.type != DataType::kI8 || !is_conv(spec.shape) || spec.shape[1] % kQuad == 0) continue;
    throw Error(ErrorCode::kModel, source + ": the convolution " + module_of(spec.name) +
                                       " reads " + std::to_string(spec.shape[1]) +
                                       " channels; an int8 model needs multiples of 4");
  }
}

Int8Model::Int8Model(const Weights& model, const Calibration& calibration,
                     const std::vector<std::string>& sources)
    : model_(model), layers_(model, calibration) {
  const Config config = int8_config(model.config());
  plan_.key_values = key_values(model.file(), config, sources);
  for (const TensorSpec& spec : schema(config))
    plan_.tensors.push_back({spec.name, spec.type, spec.layout, spec.shape});
}

// Quantises the layer that a tensor belongs to.
void Int8Model::load(const std::string& tensor) {
  const std::string module = module_of(tensor);
  if (module == module_) return;
  module_ = module;
  conv_.reset();
  matrix_.reset();
  if (layers_.flow_of(module) != nullptr) {
    conv_ = layers_.conv(module);
    return;
  }
  for (const std::string& name : {module + ".weight", module}) {
    const TensorEntry* entry = model_.file().find_tensor(name);
    if (entry == nullptr || entry->layout != Layout::kPanels) continue;
    matrix_ = layers_.matrix(name);
    return;
  }
}

void Int8Model::fill(size_t index, const TensorValues& out) {
  const PlannedTensor& tensor = plan_.tensors[index];
  load(tensor.name);
  const Int8Rows* const rows = conv_ ? &conv_->weights : matrix_ ? &*matrix_ : nullptr;
  const bool is_matrix = matrix_.has_value();
  if (tensor.type == DataType::kI8) {
    const size_t channels = tensor.dims[1], taps = rows->depth / channels;
    for (size_t i = 0; i < rows->values.size(); ++i) {
      const size_t output = i / rows->depth, tap = i % rows->depth / channels, c = i % channels;
      out.bytes()[(output * channels + c) * taps + tap] = rows->values[i];
    }
  } else if (rows != nullptr && tensor.name.ends_with(".sum")) {
    copy_values(rows->sums, out.integers());
  } else if (rows != nullptr && tensor.name.ends_with(".scale")) {
    copy_values(is_matrix ? rows->scales : conv_->output_scales, out.floats());
  } else if (conv_ && tensor.name.ends_with(".bias")) {
    copy_values(conv_->bias, out.integers());
  } else if (conv_) {
    std::copy(conv_->numbers.begin(), conv_->numbers.end(), out.floats().begin());
  } else {
    const float* const values = model_.floats(tensor.name);
    std::copy_n(values, out.floats().size(), out.floats().begin());
  }
}

std::shared_ptr<const Model> dequantized(const Weights& model, const LayerQuantizer& layers) {
  WeightsPlan plan;
  plan.key_values = key_values(model.file(), model.config(), {});
  for (const TensorSpec& spec : schema(model.config()))
    plan.tensors.push_back({spec.name, DataType::kF32, spec.layout, spec.shape});
  std::string module;
  LayerQuantizer::FloatConv conv;
  const auto fill = [&](size_t index, std::span<float> out) {
    const PlannedTensor& tensor = plan.tensors[index];
    const std::string own = module_of(tensor.name);
    if (layers.flow_of(own) != nullptr) {
      if (own != module) conv = layers.stands_for(own);
      module = own;
      copy_values(tensor.layout == Layout::kPanels ? conv.weights : conv.bias, out);
    } else if (tensor.layout == Layout::kPanels) {
      const Int8Rows rows = layers.matrix(tensor.name);
      for (size_t i = 0; i < out.size(); ++i)
        out[i] = rows.scales[i / rows.depth] * static_cast<float>(rows.values[i]);
    } else {
      std::copy_n(model.floats(tensor.name), out.size(), out.begin());
    }
  };
  // In memory whose alignment lets the model use it as it is.
  const auto held = std::make_shared<HeldModel>();
  size_t size = 0;
  {
    const std::vector<uint8_t> bytes = weights_in_memory(plan, fill);
    size = bytes.size();
    held->memory = allocate_block(size);
    std::memcpy(held->memory.get(), bytes.data(), size);
  }
  const Bytes file = {static_cast<const uint8_t*>(held->memory.get()), size};
  held->model.emplace(WeightsFile::from_buffer(file, "the simulation"));
  return {held, &*held->model};
}

}  // namespace lightcap::internal
