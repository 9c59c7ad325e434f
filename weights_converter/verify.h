// `lightcap-convert --verify`: does the file hold what it should?
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_VERIFY_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_VERIFY_H_

#include <string>

#include "weights_converter/weights_writer.h"

namespace lightcap::internal {

// Opens the written file and compares it with what it was to hold: key-values, and every tensor's
// type, layout, shape, checksum, padding and values, bit by bit. Throws Error(kMismatch) that lists
// the differences, and what opening the file throws.
void verify_weights(const std::string& path, const WeightsPlan& plan, const FillTensor& fill);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_VERIFY_H_
