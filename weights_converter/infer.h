// The sizes of a model, read off its tensors' shapes.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_INFER_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_INFER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/config.h"

namespace lightcap::internal {

// By the schema's names (those of a checkpoint with all prefixes).
using Shapes = std::map<std::string, std::vector<uint64_t>>;

// Sets those sizes of `config` that some tensor tells; of several that tell the same size, the one
// that defines it counts. The others are held against it when their shapes are compared with the
// schema's. Throws Error(kCheckpoint) that lists all sizes out of bounds.
void infer_sizes(const Shapes& shapes, Config& config);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_INFER_H_
