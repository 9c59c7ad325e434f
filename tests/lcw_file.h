// .lcw files in pieces, for tests that forge them: whatever is changed, the checksums are right.
#ifndef LIGHTCAP_TESTS_LCW_FILE_H_
#define LIGHTCAP_TESTS_LCW_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "models/model.h"

namespace lightcap::internal::testing {

struct LcwTensor {
  std::string name;
  DataType type = DataType::kF32;
  Layout layout = Layout::kRowMajor;
  std::vector<uint64_t> dims;
  std::vector<uint8_t> bytes;

  // Bytes as fp32; those of a matrix lie in panels.
  float* floats() { return reinterpret_cast<float*>(bytes.data()); }
  size_t size() const { return bytes.size() / sizeof(float); }
};

struct LcwFile {
  using Value =
      std::variant<uint64_t, double, std::string, std::vector<std::string>, std::vector<double>>;
  std::vector<std::pair<std::string, Value>> keys;
  std::vector<LcwTensor> tensors;

  // The pieces of a sound file. Throws Error(kModel).
  static LcwFile parse(const std::vector<uint8_t>& bytes);
  // A model of these sizes with made-up weights, which captions pictures.
  static LcwFile of(const Config& config);
  // The file that they make.
  std::vector<uint8_t> bytes() const;

  Value& value(const std::string& key);
  LcwTensor& tensor(const std::string& name);
};

// The model in a file, from a copy of its bytes that the model owns. Throws Error(kModel).
std::shared_ptr<const Model> open_model(const LcwFile& file);

// The smallest sizes there are, nearly: some ten thousand weights.
Config smallest_config();
// The smallest of which lightcap-quantize makes an int8 model.
Config smallest_quantizable_config();

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_LCW_FILE_H_
