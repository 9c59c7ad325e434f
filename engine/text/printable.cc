#include "engine/text/printable.h"

#include "engine/text/unicode.h"

namespace lightcap::internal {
namespace {

// Terminals obey control characters. The separators and overrides break or reorder the line that
// they stand in, so that it reads as another.
bool is_hidden(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 ||
         (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void append_hex(uint32_t value, int digits, std::string& out) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += "0123456789abcdef"[value >> shift & 15];
  }
}

void append_escaped(char32_t c, std::string& out) {
  switch (c) {
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      out += c < 0x80 ? "\\x" : "\\u";
      append_hex(c, c < 0x80 ? 2 : 4, out);
  }
}

}  // namespace

std::string printable(std::string_view text, size_t most) {
  constexpr char32_t kReplacement = 0xfffd;  // stands for damage, or for itself in three bytes
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (at > most) return result + "...";
    if (c == kReplacement && at - begin == 1) {
      result += "\\x";
      append_hex(static_cast<uint8_t>(text[begin]), 2, result);
    } else if (is_hidden(c)) {
      append_escaped(c, result);
    } else {
      result += text.substr(begin, at - begin);
    }
  }
  return result;
}

std::string printable_lines(std::string_view text) {
  std::string result;
  while (true) {
    const size_t end = text.find('\n');
    result += printable(text.substr(0, end));
    if (end == std::string_view::npos) return result;
    result += '\n';
    text.remove_prefix(end + 1);
  }
}

std::string dims_text(const std::vector<uint64_t>& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
  return text + "]";
}

}  // namespace lightcap::internal
