#include "weights_converter/checkpoint/pickle_text.h"

#include <charconv>
#include <cstdint>

#include "engine/text/unicode.h"

namespace lightcap::internal {
std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out.push_back(text[i]);
      continue;
    }
    const char letter = text[++i];
    const size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    if (digits > 0 && text.size() - i > digits) {
      uint32_t code = 0;
      const char* begin = text.data() + i + 1;
      if (std::from_chars(begin, begin + digits, code, 16).ptr == begin + digits) {
        append_utf8(code, out);
        i += digits;
        continue;
      }
    }
    out.push_back(letter == 'n' ? '\n' : letter == 't' ? '\t' : letter == 'r' ? '\r' : letter);
  }
  return out;
}

}  // namespace lightcap::internal
