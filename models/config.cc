#include "models/config.h"

#include <cmath>
#include <string_view>
#include <type_traits>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

constexpr std::string_view kModulatorWidth = "modulator.width";
constexpr std::string_view kQuantization = "quantization";

class Reader {
 public:
  explicit Reader(const WeightsFile& file) : file_(file) {}

  void operator()(const char* key, uint64_t& number, uint64_t lowest, uint64_t highest) const {
    if (key == kModulatorWidth && file_.find_value(key) == nullptr) return;  // see read_config
    number = get<uint64_t>(key, "a whole number");
    check(key, static_cast<double>(number), static_cast<double>(lowest),
          static_cast<double>(highest));
  }
  void operator()(const char* key, double& number, double lowest, double highest) const {
    number = get<double>(key, "a number");
    check(key, number, lowest, highest);
  }
  void operator()(const char* key, bool& flag) const {
    uint64_t number = 0;
    (*this)(key, number, 0, 1);
    flag = number != 0;
  }
  template <class Enum, size_t n>
  requires std::is_enum_v<Enum>
  void operator()(const char* key, Enum& choice, const std::array<const char*, n>& names) const {
    if (key == kQuantization && file_.find_value(key) == nullptr) return;  // see read_config
    const auto name = get<std::string_view>(key, "a string");
    std::string known;
    for (size_t i = 0; i < n; ++i) {
      if (name == names[i]) {
        choice = static_cast<Enum>(i);
        return;
      }
      known += std::string(i == 0 ? "" : " or ") + names[i];
    }
    constexpr size_t kShown = 40;
    std::string shown(name.substr(0, kShown));
    for (char& c : shown) c = c >= ' ' && c < 127 ? c : '?';
    fail(key, "is \"" + shown + "\", expected " + known);
  }
  // Lists are stored as doubles, which hold whole numbers within our bounds exactly.
  template <class Number, size_t n>
  void operator()(const char* key, std::array<Number, n>& numbers, Number lowest,
                  Number highest) const {
    const auto& stored = get<std::vector<double>>(key, "a list of numbers");
    if (stored.size() != n) {
      fail(key, "has " + std::to_string(stored.size()) + " numbers, expected " + std::to_string(n));
    }
    for (size_t i = 0; i < n; ++i) {
      check(key, stored[i], static_cast<double>(lowest), static_cast<double>(highest));
      numbers[i] = static_cast<Number>(stored[i]);
      if (static_cast<double>(numbers[i]) != stored[i]) fail(key, "holds a fraction");
    }
  }

 private:
  [[noreturn]] void fail(const char* key, const std::string& what) const {
    throw Error(ErrorCode::kModel, file_.source() + ": the key " + key + " " + what);
  }
  template <class T>
  const T& get(const char* key, const char* expected) const {
    const Value* value = file_.find_value(key);
    if (value == nullptr) fail(key, "is missing");
    if (!std::holds_alternative<T>(*value)) fail(key, std::string("is not ") + expected);
    return std::get<T>(*value);
  }
  void check(const char* key, double number, double lowest, double highest) const {
    if (number >= lowest && number <= highest) return;  // false for NaN
    fail(key, "is " + std::to_string(number) + ", expected " + std::to_string(lowest) + " to " +
                  std::to_string(highest));
  }

  const WeightsFile& file_;
};

}  // namespace

std::string contradiction(const Config& config) {
  const auto& fusion = config.fusion;
  if (config.image_encoder.image_size % 32 != 0)
    return "image_encoder.image_size must be a multiple of 32";
  if (config.image_encoder.width % 2 != 0) return "image_encoder.width must be even";
  if (config.detector.image_size % 32 != 0) return "detector.image_size must be a multiple of 32";
  for (const uint64_t width : config.detector.widths) {
    if (width % 2 != 0) return "detector.widths must be even";
  }
  if (fusion.width % fusion.heads != 0) {
    return "fusion.heads " + std::to_string(fusion.heads) + " does not divide the width " +
           std::to_string(fusion.width);
  }
  const uint64_t positions = fusion.caption_slots + fusion.max_concept_tokens;
  if (positions > fusion.positions) {
    return "fusion.caption_slots + fusion.max_concept_tokens = " + std::to_string(positions) +
           " positions are needed, the position embedding has " + std::to_string(fusion.positions);
  }
  return {};
}

Config read_config(const WeightsFile& file) {
  Config config;
  const Reader reader(file);
  visit_hyper_parameters(config, reader);
  visit_sizes(config, reader);
  if (file.find_value(kModulatorWidth) == nullptr) config.modulator.width = config.fusion.width;
  const std::string wrong = contradiction(config);
  if (!wrong.empty()) throw Error(ErrorCode::kModel, file.source() + ": " + wrong);
  return config;
}

}  // namespace lightcap::internal
