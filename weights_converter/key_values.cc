#include "weights_converter/key_values.h"

#include <array>
#include <string>
#include <type_traits>

namespace lightcap::internal {
namespace {

// Writes Config as models/config.cc reads it.
class KeyValueMaker {
 public:
  std::vector<PlannedKeyValue> made;

  void operator()(const char* key, uint64_t number, uint64_t, uint64_t) {
    made.push_back({key, number});
  }
  void operator()(const char* key, double number, double, double) { made.push_back({key, number}); }
  void operator()(const char* key, bool flag) { made.push_back({key, uint64_t{flag}}); }
  template <class Enum, size_t n>
  requires std::is_enum_v<Enum>
  void operator()(const char* key, Enum choice, const std::array<const char*, n>& names) {
    made.push_back({key, std::string(names[static_cast<size_t>(choice)])});
  }
  template <class Number, size_t n>
  void operator()(const char* key, const std::array<Number, n>& numbers, Number, Number) {
    std::vector<double> stored;
    for (const Number number : numbers) stored.push_back(static_cast<double>(number));
    made.push_back({key, std::move(stored)});
  }
};

}  // namespace

std::vector<PlannedKeyValue> config_key_values(const Config& config) {
  KeyValueMaker maker;
  visit_hyper_parameters(config, maker);
  visit_sizes(config, maker);
  return std::move(maker.made);
}

}  // namespace lightcap::internal
