// A model's file for lightcap-quantize, whose calls fail.
#ifndef LIGHTCAP_TESTS_FAULTS_QUANTIZABLE_MODEL_H_
#define LIGHTCAP_TESTS_FAULTS_QUANTIZABLE_MODEL_H_

#include <filesystem>
#include <string>

#include "tests/lcw_file.h"
#include "tests/tiny_checkpoint.h"

namespace lightcap::internal::testing {

// In a folder with another one, "out", for what is made of it.
struct QuantizableModel {
  QuantizableModel() {
    const std::vector<uint8_t> model = LcwFile::of(smallest_quantizable_config()).bytes();
    before.assign(model.begin(), model.end());
    write_text(in, before);
    std::filesystem::create_directory(folder / "out");
  }

  const TemporaryFolder folder;
  const std::string in = folder / "model.lcw", out = folder / "out/int8.lcw";
  std::string before;  // the bytes of `in`
};

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_FAULTS_QUANTIZABLE_MODEL_H_
