// The converter's inputs that are no checkpoints: vocabulary, labels, config.json.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_TEXT_FILES_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_TEXT_FILES_H_

#include <string>
#include <string_view>
#include <vector>

#include "models/config.h"

namespace lightcap::internal {

// The parsers take a file's text and its path for messages; all throw Error(kCheckpoint). Lines end
// in \n or \r\n; a byte order mark and empty lines at the end are passed over, text that is not
// UTF-8 is an error, and so are empty lines in between.

// A WordPiece vocabulary: a token a line, in id order, [PAD] [UNK] [CLS] [SEP] [MASK] among them.
std::vector<std::string> parse_vocabulary(std::string_view text, const std::string& path);
// A label a line; of synonyms with commas between them, the first.
std::vector<std::string> parse_labels(std::string_view text, const std::string& path);
// Hyper-parameters; what the file does not name stays as it is. The error lists all that is wrong:
// unknown keys with the nearest known one, wrong types, numbers out of bounds.
void parse_config(std::string_view text, const std::string& path, Config& config);

// A model card: any text that is UTF-8, of at most kCardBytes; lines end in \n afterwards.
inline constexpr size_t kCardBytes = size_t{64} << 10;
std::string parse_card(std::string_view text, const std::string& path);

// A file's whole text.
std::string read_text(const std::string& path);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_TEXT_FILES_H_
