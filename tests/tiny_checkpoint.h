// A whole model of a few thousand numbers as the converter's input, in safetensors.
#ifndef LIGHTCAP_TESTS_TINY_CHECKPOINT_H_
#define LIGHTCAP_TESTS_TINY_CHECKPOINT_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "models/config.h"
#include "tests/temporary_folder.h"

namespace lightcap::internal::testing {

struct TinyTensor {
  std::vector<uint64_t> shape;
  std::vector<float> values;
};
using TinyTensors = std::map<std::string, TinyTensor>;

// No size is a multiple of the panels' 16, or equal to another where they could be mixed up.
Config tiny_config();
// All tensors under the names of a LightCap checkpoint, BatchNorm not folded. Values depend on the
// name alone, variances are positive.
TinyTensors tiny_tensors(const Config& config = tiny_config());

void write_safetensors(const std::filesystem::path& path, const TinyTensors& tensors);
// Those whose name begins with `prefix`, which is replaced.
TinyTensors with_prefix(const TinyTensors& tensors, const std::string& prefix,
                        const std::string& replacement);

void write_text(const std::filesystem::path& path, const std::string& text);
std::string read_file(const std::filesystem::path& path);
// A token a line: the special ones, then words; "thing0" and so on.
std::string tiny_vocabulary(uint64_t count);
std::string tiny_labels(uint64_t count);

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_TINY_CHECKPOINT_H_
