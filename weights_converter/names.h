// "Did you mean": the nearest of many names.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_NAMES_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_NAMES_H_

#include <cstddef>
#include <string_view>

namespace lightcap {

// How many letters have to be inserted, removed or replaced to make one of the other.
size_t edit_distance(std::string_view a, std::string_view b);
// The same for the parts between dots, but a part that differs costs 1 however much it does.
size_t dotted_distance(std::string_view a, std::string_view b);

}  // namespace lightcap

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_NAMES_H_
