// The little of Unicode that BERT's uncased tokenizer needs.
#ifndef LIGHTCAP_ENGINE_TEXT_UNICODE_H_
#define LIGHTCAP_ENGINE_TEXT_UNICODE_H_

#include <string>
#include <string_view>

namespace lightcap::internal {

// The code point at text[at], moving `at` behind it; U+FFFD for bytes that are no UTF-8.
char32_t next_code_point(std::string_view text, size_t& at);
// How many bytes at the beginning of `text` are whole characters in UTF-8 (RFC 3629: no overlong
// forms, no surrogates, nothing beyond U+10FFFF); all of them where it is valid.
size_t valid_utf8_prefix(std::string_view text);
inline bool is_utf8(std::string_view text) { return valid_utf8_prefix(text) == text.size(); }
void append_utf8(char32_t c, std::string& out);

// The lower-case letter without its accents, 0 for a combining mark. Covers Latin, Greek but for
// the polytonic, and Cyrillic; letters of other scripts stay as they are.
char32_t fold_letter(char32_t c);

bool is_space(char32_t c);
// NUL, U+FFFD and control characters, which are dropped.
bool is_control(char32_t c);
// ASCII's symbols, and Unicode's category P below U+10000 outside the scripts of Asia and Africa.
bool is_punctuation(char32_t c);
// CJK ideographs, each a word.
bool is_ideograph(char32_t c);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_TEXT_UNICODE_H_
