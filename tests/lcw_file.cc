#include "tests/lcw_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "engine/io/crc32.h"
#include "models/schema.h"

namespace lightcap::internal::testing {
namespace {

class Writer {
 public:
  std::vector<uint8_t> bytes;

  template <class T>
  void number(T value) {
    const auto* begin = reinterpret_cast<const uint8_t*>(&value);
    bytes.insert(bytes.end(), begin, begin + sizeof value);
  }
  void string(const std::string& text) {
    number(static_cast<uint32_t>(text.size()));
    bytes.insert(bytes.end(), text.begin(), text.end());
  }
  void value(const LcwFile::Value& value) {
    number(static_cast<uint8_t>(value.index() + 1));
    std::visit([this](const auto& v) { write(v); }, value);
  }

 private:
  void write(uint64_t value) { number(value); }
  void write(double value) { number(value); }
  void write(const std::string& text) { string(text); }
  void write(const std::vector<std::string>& texts) {
    number(static_cast<uint32_t>(texts.size()));
    for (const std::string& text : texts) string(text);
  }
  void write(const std::vector<double>& numbers) {
    number(static_cast<uint32_t>(numbers.size()));
    for (const double value : numbers) number(value);
  }
};

size_t aligned(size_t at) {
  return (at + kWeightsAlignment - 1) / kWeightsAlignment * kWeightsAlignment;
}

// Turns a configuration into key-values, in the way of Config's visitors.
struct KeyMaker {
  LcwFile& file;

  template <class... Bounds>
  void operator()(const char* key, uint64_t number, Bounds...) {
    file.keys.emplace_back(key, number);
  }
  void operator()(const char* key, double number, double, double) {
    file.keys.emplace_back(key, number);
  }
  void operator()(const char* key, bool flag) { file.keys.emplace_back(key, uint64_t{flag}); }
  template <class Enum, size_t n>
  requires std::is_enum_v<Enum>
  void operator()(const char* key, Enum choice, const std::array<const char*, n>& names) {
    file.keys.emplace_back(key, std::string(names[static_cast<size_t>(choice)]));
  }
  template <class Number, size_t n>
  void operator()(const char* key, const std::array<Number, n>& numbers, Number, Number) {
    file.keys.emplace_back(key, std::vector<double>(numbers.begin(), numbers.end()));
  }
};

// Between -1 and 1, over the square root of the inputs; LayerNorm's weights are near 1.
void make_up(LcwTensor& tensor) {
  uint32_t state = 1;
  for (const char c : tensor.name) state = state * 31 + static_cast<uint8_t>(c);
  size_t inputs = 1;
  for (size_t i = 1; i < tensor.dims.size(); ++i) inputs *= tensor.dims[i];
  const float scale = 1 / std::sqrt(static_cast<float>(inputs));
  const bool norm = tensor.name.ends_with("LayerNorm.weight");
  for (size_t i = 0; i < tensor.size(); ++i) {
    state = state * 1664525 + 1013904223;
    const float value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
    tensor.floats()[i] = norm ? 1 + value / 8 : value * scale;
  }
}

// int8 weights whose neighbours add up to 120 at most, and the sums, scales and numbers that keep
// activations in the middle of their range.
void make_up_integers(std::vector<LcwTensor>& tensors) {
  std::string weight;
  size_t outputs = 0, depth = 0;
  std::vector<int32_t> sums;
  for (LcwTensor& tensor : tensors) {
    const auto is_of = [&](const char* what) { return tensor.name == beside(weight, what); };
    if (tensor.type == DataType::kI8) {
      weight = tensor.name, outputs = tensor.dims[0], depth = 1;
      for (size_t i = 1; i < tensor.dims.size(); ++i) depth *= tensor.dims[i];
      sums.assign(outputs, 0);
      uint32_t state = 1;
      for (size_t output = 0; output < outputs; ++output) {
        for (size_t k = 0; k < depth; ++k) {
          state = state * 1664525 + 1013904223;
          const auto value = static_cast<int8_t>(static_cast<int>((state >> 8) % 121) - 60);
          tensor.bytes[quad_panel_index(output, k, depth)] = static_cast<uint8_t>(value);
          sums[output] += value;
        }
      }
    } else if (is_of("sum")) {
      std::memcpy(tensor.bytes.data(), sums.data(), tensor.bytes.size());
    } else if (is_of("scale")) {
      const float scale = 1 / (60 * std::sqrt(static_cast<float>(depth)));
      for (size_t i = 0; i < outputs; ++i) tensor.floats()[i] = scale;
    } else if (is_of("quantization")) {
      const bool is_input = weight == "detector.model.0.conv.weight";
      const bool has_zeros = weight.starts_with("detector");
      const float zero = has_zeros ? 7 : 0;
      const float numbers[] = {is_input ? 0 : zero, 0.05f, zero, 0.5f, 0, 1280};
      std::memcpy(tensor.bytes.data(), numbers, sizeof numbers);
    } else if (tensor.type == DataType::kI32) {
      std::memset(tensor.bytes.data(), 0, tensor.bytes.size());
    }
  }
}

std::string word(uint64_t id) {
  std::string text = "w";
  text += std::to_string(id);
  return text;
}

}  // namespace

LcwFile LcwFile::parse(const std::vector<uint8_t>& bytes) {
  const WeightsFile source = WeightsFile::from_buffer({bytes.data(), bytes.size()}, "parsed.lcw");
  LcwFile file;
  for (const auto& [key, value] : source.key_values()) {
    std::visit(
        [&, name = std::string(key)](const auto& v) {
          using T = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<T, std::string_view>) {
            file.keys.emplace_back(name, std::string(v));
          } else if constexpr (std::is_same_v<T, std::vector<std::string_view>>) {
            file.keys.emplace_back(name, std::vector<std::string>(v.begin(), v.end()));
          } else {
            file.keys.emplace_back(name, v);
          }
        },
        value);
  }
  for (const TensorEntry& entry : source.tensors()) {
    const uint8_t* data = source.data(entry);
    file.tensors.push_back({std::string(entry.name), entry.type, entry.layout, entry.dims,
                            std::vector<uint8_t>(data, data + entry.bytes)});
  }
  return file;
}

LcwFile LcwFile::of(const Config& config) {
  LcwFile file;
  KeyMaker make_keys{file};
  visit_hyper_parameters(config, make_keys);
  visit_sizes(config, make_keys);
  std::vector<std::string> vocabulary = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  while (vocabulary.size() < config.fusion.vocabulary)
    vocabulary.push_back(word(vocabulary.size()));
  std::vector<std::string> labels;
  for (uint64_t i = 0; i < config.concept_extractor.vocabulary; ++i) labels.push_back(word(5 + i));
  file.keys.emplace_back("vocabulary", vocabulary);
  file.keys.emplace_back("labels", labels);
  for (const TensorSpec& spec : schema(config)) {
    LcwTensor tensor = {spec.name, spec.type, spec.layout, spec.shape, {}};
    tensor.bytes.resize(tensor_bytes(tensor.type, tensor.layout, tensor.dims));
    if (is_float(tensor.type)) make_up(tensor);
    file.tensors.push_back(std::move(tensor));
  }
  make_up_integers(file.tensors);
  return file;
}

std::vector<uint8_t> LcwFile::bytes() const {
  Writer metadata;
  for (const auto& [key, value] : keys) {
    metadata.string(key);
    metadata.value(value);
  }
  size_t directory = 0;
  for (const LcwTensor& tensor : tensors)
    directory += 4 + tensor.name.size() + 3 + 8 * tensor.dims.size() + 8 + 8 + 4;
  const size_t metadata_bytes = metadata.bytes.size() + directory;
  const size_t data_offset = aligned(sizeof(WeightsHeader) + metadata_bytes);
  size_t offset = data_offset;
  std::vector<uint8_t> data;
  for (const LcwTensor& tensor : tensors) {
    metadata.string(tensor.name);
    metadata.number(tensor.type);
    metadata.number(tensor.layout);
    metadata.number(static_cast<uint8_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) metadata.number(dim);
    metadata.number(uint64_t{offset});
    metadata.number(uint64_t{tensor.bytes.size()});
    metadata.number(crc32(tensor.bytes.data(), tensor.bytes.size()));
    data.insert(data.end(), tensor.bytes.begin(), tensor.bytes.end());
    offset = data_offset + aligned(data.size());
    data.resize(offset - data_offset);
  }
  WeightsHeader header = {};
  std::memcpy(header.magic, kWeightsMagic, sizeof header.magic);
  header.version = kWeightsVersion;
  header.file_bytes = offset;
  header.metadata_bytes = metadata_bytes;
  header.key_value_count = static_cast<uint32_t>(keys.size());
  header.tensor_count = static_cast<uint32_t>(tensors.size());
  header.data_offset = data_offset;
  header.metadata_crc32 = crc32(metadata.bytes.data(), metadata_bytes);
  header.header_crc32 = crc32(&header, offsetof(WeightsHeader, header_crc32));
  std::vector<uint8_t> file(offset);
  std::memcpy(file.data(), &header, sizeof header);
  std::copy(metadata.bytes.begin(), metadata.bytes.end(), file.begin() + sizeof header);
  std::copy(data.begin(), data.end(), file.begin() + static_cast<std::ptrdiff_t>(data_offset));
  return file;
}

LcwFile::Value& LcwFile::value(const std::string& key) {
  for (auto& [name, value] : keys) {
    if (name == key) return value;
  }
  throw std::out_of_range("no key " + key);
}

LcwTensor& LcwFile::tensor(const std::string& name) {
  for (LcwTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::out_of_range("no tensor " + name);
}

Config smallest_config() {
  Config config;
  config.image_encoder.image_size = 64;
  config.image_encoder.width = 2;
  config.image_encoder.blocks = {1, 1, 1, 1};
  config.detector.image_size = 64;
  config.detector.max_proposals = 4;
  config.detector.widths = {2, 2, 2, 2, 2};
  config.detector.depths = {1, 1, 1, 1, 1, 1, 1, 1};
  config.detector.anchors = 1;
  config.concept_extractor.roi_size = 2;
  config.concept_extractor.hidden = 2;
  config.concept_extractor.embedding = 2;
  config.concept_extractor.vocabulary = 2;
  config.modulator.width = 2;
  config.fusion.heads = 2;
  config.fusion.caption_slots = 4;
  config.fusion.max_concept_tokens = 3;
  config.fusion.width = 16;
  config.fusion.layers = 2;
  config.fusion.feed_forward = 4;
  config.fusion.vocabulary = 8;
  config.fusion.positions = 16;
  config.head.branches = 1;
  return config;
}

Config smallest_quantizable_config() {
  Config config = smallest_config();
  config.image_encoder.width = 8;
  config.detector.widths = {8, 8, 8, 8, 8};
  return config;
}

std::shared_ptr<const Model> open_model(const LcwFile& file) {
  const std::vector<uint8_t> bytes = file.bytes();
  // One byte off, so that it is copied: `bytes` does not live as long as the model.
  std::vector<uint8_t> shifted(bytes.size() + 2 * kWeightsAlignment);
  auto* begin = shifted.data();
  while (reinterpret_cast<uintptr_t>(begin) % kWeightsAlignment != 1) ++begin;
  std::copy(bytes.begin(), bytes.end(), begin);
  return std::make_shared<const Model>(
      WeightsFile::from_buffer({begin, bytes.size()}, "forged.lcw"));
}

}  // namespace lightcap::internal::testing
