// Seeded random weights: for benchmarks, tests, and checkpoints that hold a part of the model.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_RANDOM_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_RANDOM_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/schema.h"

namespace lightcap::internal {

// Fills a checkpoint's tensor in the way that its block describes. The values depend on the
// arguments alone, on every machine.
void fill_random(uint64_t seed, std::string_view name, const RandomInit& init,
                 std::span<float> out);

// `size` WordPiece tokens: the special ones where BERT has them, and words "w1000" by their ids.
// At least 5.
std::vector<std::string> placeholder_vocabulary(uint64_t size);
// `size` labels, each a word of the placeholder vocabulary as far as that goes.
std::vector<std::string> placeholder_labels(uint64_t size);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_RANDOM_H_
