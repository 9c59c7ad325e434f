// A conversion's inputs in a folder of their own, and what comes of them.
#ifndef LIGHTCAP_TESTS_CONVERSION_FILES_H_
#define LIGHTCAP_TESTS_CONVERSION_FILES_H_

#include <gtest/gtest.h>

#include <span>
#include <string>
#include <variant>
#include <vector>

#include "tests/expect_error.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/assemble.h"

namespace lightcap::internal::testing {

// The four roles' files, vocabulary and labels of the tiny model in a folder.
class ConversionFiles {
 public:
  TinyTensors tensors = tiny_tensors();
  ConversionOptions options;
  TemporaryFolder folder;

  ConversionFiles() {
    options.vocabulary = folder / "vocab.txt";
    options.labels = folder / "labels.txt";
    write_text(options.vocabulary, tiny_vocabulary(tiny_config().fusion.vocabulary));
    write_text(options.labels, tiny_labels(tiny_config().concept_extractor.vocabulary));
  }
  void give(Role role, const TinyTensors& given) {
    std::string& path = options.checkpoints[static_cast<size_t>(role)];
    path = folder / (std::string(role_option(role)).substr(2) + ".safetensors");
    write_safetensors(path, given);
  }
  // Everything in one file.
  void give_whole() { give(Role::kLightcap, tensors); }
  // The message of a conversion of the whole file, without the folder's name.
  std::string error(ErrorCode code = ErrorCode::kCheckpoint) {
    std::string text = error_of([this] { convert(); }, code);
    const std::string root = folder / "";
    for (size_t at = text.find(root); at != std::string::npos; at = text.find(root)) {
      text.erase(at, root.size());
    }
    return text;
  }
  std::string error_of_whole() {
    give_whole();
    return error();
  }
  std::vector<uint8_t> convert() const {
    const Conversion conversion(options);
    return weights_in_memory(conversion.plan(), [&](size_t index, std::span<float> out) {
      conversion.fill(index, out);
    });
  }
};

// A tensor's values.
inline std::vector<float> filled(const Conversion& conversion, const std::string& name) {
  const auto& tensors = conversion.plan().tensors;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name != name) continue;
    std::vector<float> values(tensors[i].elements());
    conversion.fill(i, values);
    return values;
  }
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

// The lines in which a model says where it is from.
inline std::vector<std::string> sources_of(const Conversion& conversion) {
  for (const PlannedKeyValue& pair : conversion.plan().key_values) {
    if (pair.key == "sources") return std::get<std::vector<std::string>>(pair.value);
  }
  return {};
}

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_CONVERSION_FILES_H_
