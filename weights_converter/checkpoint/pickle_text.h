// Texts as pickles of protocol 0 write them.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_TEXT_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_TEXT_H_

#include <string>
#include <string_view>

namespace lightcap::internal {

// As UTF-8, with \xNN, \uNNNN, \UNNNNNNNN and the one-letter escapes resolved. All other text
// stays as it is.
std::string unescape(std::string_view text);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_TEXT_H_
