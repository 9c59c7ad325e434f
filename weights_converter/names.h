// "Did you mean": the nearest of many names.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_NAMES_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_NAMES_H_

#include <cstddef>
#include <optional>
#include <string_view>

namespace lightcap::internal {

// How many letters have to be inserted, removed or replaced to make one of the other.
size_t edit_distance(std::string_view a, std::string_view b);
// The difference of two dotted names that can be spellings of one: 0 where they are equal, 1 where
// one part is spelled alike (a letter differs, or one is in the other whatever the case: `norm`,
// `LayerNorm`); nothing where they cannot. Parts with other digits in them are other modules: `fc1`
// and `fc2`.
std::optional<size_t> spelling_difference(std::string_view a, std::string_view b);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_NAMES_H_
