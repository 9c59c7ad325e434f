// Seeded random weights: for benchmarks, tests, and checkpoints that hold a part of the model.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_RANDOM_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_RANDOM_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lightcap {

// Fills a checkpoint's tensor. The values depend on seed, name and shape alone, on every machine,
// and keep activations of order 1 through the whole graph; a BatchNorm is the identity.
void fill_random(uint64_t seed, std::string_view name, const std::vector<uint64_t>& shape,
                 std::span<float> out);

// `size` WordPiece tokens: the special ones where BERT has them, and words "w1000" by their ids.
// At least 5.
std::vector<std::string> placeholder_vocabulary(uint64_t size);
// `size` labels, each a word of the placeholder vocabulary as far as that goes.
std::vector<std::string> placeholder_labels(uint64_t size);

}  // namespace lightcap

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_RANDOM_H_
