#include "tests/tiny_checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "models/schema.h"

namespace lightcap::internal::testing {
namespace {

namespace fs = std::filesystem;

// Numbers between -1 and 1 that look random.
std::vector<float> made_up_values(const std::string& name, size_t count) {
  uint32_t state = 1;
  for (const char c : name) state = state * 31 + static_cast<uint8_t>(c);
  std::vector<float> values(count);
  for (float& value : values) {
    state = state * 1664525 + 1013904223;
    value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
  }
  if (name.ends_with("running_var")) {
    for (float& value : values) value = 0.1f + value * value;
  }
  return values;
}

}  // namespace

Config tiny_config() {
  Config config;
  config.image_encoder.width = 4;
  config.image_encoder.blocks = {2, 1, 1, 1};
  config.detector.widths = {4, 6, 8, 10, 14};
  config.detector.depths = {1, 2, 1, 1, 1, 1, 1, 1};
  config.detector.classes = 3;
  config.detector.anchors = 2;
  config.concept_extractor.hidden = 9;
  config.concept_extractor.embedding = 11;
  config.concept_extractor.vocabulary = 7;
  config.modulator.width = 5;
  config.fusion.width = 24;
  config.fusion.layers = 2;
  config.fusion.feed_forward = 20;
  config.fusion.vocabulary = 33;
  config.fusion.positions = 61;
  config.head.branches = 2;
  return config;
}

TinyTensors tiny_tensors(const Config& config) {
  TinyTensors tensors;
  const auto add = [&](const std::string& name, const std::vector<uint64_t>& shape) {
    size_t count = 1;
    for (const uint64_t dim : shape) count *= dim;
    tensors[name] = {shape, made_up_values(name, count)};
  };
  for (const TensorSpec& spec : schema(config)) {
    if (spec.kind != TensorKind::kConvBias) {
      add(spec.name, spec.shape);
      continue;
    }
    for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
      add(spec.batch_norm + part, spec.shape);
    }
  }
  return tensors;
}

void write_safetensors(const fs::path& path, const TinyTensors& tensors) {
  nlohmann::json header;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()),
                tensor.values.size() * sizeof(float));
    header[name] = {
        {"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string json = header.dump();
  const uint64_t length = json.size();
  write_text(path,
             std::string(reinterpret_cast<const char*>(&length), sizeof length) + json + data);
}

TinyTensors with_prefix(const TinyTensors& tensors, const std::string& prefix,
                        const std::string& replacement) {
  TinyTensors result;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) result[replacement + name.substr(prefix.size())] = tensor;
  }
  return result;
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string tiny_vocabulary(uint64_t count) {
  std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (uint64_t i = 5; i < count; ++i) text += "word" + std::to_string(i) + "\n";
  return text;
}

std::string tiny_labels(uint64_t count) {
  std::string text;
  for (uint64_t i = 0; i < count; ++i) text += "thing" + std::to_string(i) + "\n";
  return text;
}

}  // namespace lightcap::internal::testing
