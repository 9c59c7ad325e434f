#include "weights_converter/checkpoint/pickle_text.h"

#include <charconv>
#include <cstdint>

namespace lightcap::internal {
namespace {

void append_utf8(std::string& out, uint32_t code) {
  const auto add = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | code >> 6);
    add(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3F));
    add(0x80 | (code & 0x3F));
  } else {
    add(0xF0 | (code >> 18 & 0x7));
    add(0x80 | (code >> 12 & 0x3F));
    add(0x80 | (code >> 6 & 0x3F));
    add(0x80 | (code & 0x3F));
  }
}

}  // namespace

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
        append_utf8(out, code);
        i += digits;
        continue;
      }
    }
    out.push_back(letter == 'n' ? '\n' : letter == 't' ? '\t' : letter == 'r' ? '\r' : letter);
  }
  return out;
}

}  // namespace lightcap::internal
