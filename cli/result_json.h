// A caption's result as JSON.
#ifndef LIGHTCAP_CLI_RESULT_JSON_H_
#define LIGHTCAP_CLI_RESULT_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "lightcap.h"

namespace lightcap::internal::cli {

// The parts of a JSON line that are there where they were asked for.
struct JsonExtras {
  const lightcap_constraints* constraints = nullptr;  // null: captions had none
  size_t words = 0;                                   // of the constraints
  size_t alternatives = 0;                            // at most; 0: none are listed
};

// The object of `image`: README and the C API have its fields.
nlohmann::ordered_json result_json(const std::string& image, const lightcap_result& result,
                                   const JsonExtras& extras);

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_RESULT_JSON_H_
