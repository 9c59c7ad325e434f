// The small seeded model of tests/goldens, converted by the program under test
// (tests/CMakeLists.txt).
#ifndef LIGHTCAP_TESTS_SMALL_MODEL_H_
#define LIGHTCAP_TESTS_SMALL_MODEL_H_

#include <cstdlib>
#include <memory>
#include <string>

#include "models/lightcap.h"

namespace lightcap::internal::testing {

// `variant` names a config of tests/goldens: the name of its file without .json.
inline std::string small_model_path(const std::string& variant = "stretch-mask-mean_probability") {
  return std::string(LIGHTCAP_SMALL_MODELS) + "/" + variant + ".lcw";
}

inline std::shared_ptr<const Model> small_model(
    const std::string& variant = "stretch-mask-mean_probability") {
  return std::make_shared<const Model>(WeightsFile::open(small_model_path(variant)));
}

// An int8 model of tests/goldens.
inline std::shared_ptr<const Model> int8_model() {
  return std::make_shared<const Model>(WeightsFile::open(LIGHTCAP_GOLDENS "/int8/model.lcw"));
}

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_SMALL_MODEL_H_
