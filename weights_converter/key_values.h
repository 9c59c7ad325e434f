// A model's configuration in its file.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_KEY_VALUES_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_KEY_VALUES_H_

#include <vector>

#include "models/config.h"
#include "weights_converter/weights_writer.h"

namespace lightcap::internal {

// The keys and values that read_config() reads.
std::vector<PlannedKeyValue> config_key_values(const Config& config);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_KEY_VALUES_H_
