#include "cli/output.h"

#include <cerrno>
#include <cstring>
#include <iostream>

#include "engine/io/output_file.h"
#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "engine/text/unicode.h"

namespace lightcap::internal::cli {
namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(ErrorCode::kOutput, path + ": " + what + ": " + std::strerror(errno));
}

// A pipe or a device cannot be replaced: bytes go into it one after the other.
void write_stream(const std::string& path, std::span<const uint8_t> bytes) {
  platform::File file = platform::open_to_write(path);
  if (!file) fail(path, "cannot open it for writing");
  if (!file.write(bytes) || !file.close()) fail(path, "cannot write");
}

}  // namespace

std::string message_line(std::string_view message) {
  constexpr std::string_view kListItem = "\n  ";
  std::string line = "lightcap: ";
  while (true) {
    const size_t end = message.find(kListItem);
    line += printable(message.substr(0, end));
    if (end == std::string_view::npos) return line + "\n";
    line += kListItem;
    message.remove_prefix(end + kListItem.size());
  }
}

void report(std::string_view message) { std::cerr << message_line(message); }

std::string json_text(const nlohmann::ordered_json& value, int indent) {
  const std::string text =
      value.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::string escaped;
  escaped.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    if (c < 0x7f) {
      escaped += text[begin];
    } else if (c == 0x7f) {
      escaped += "\\u007f";
    } else {
      // Escapes of two bytes and more are JSON's own.
      escaped += printable(std::string_view(text).substr(begin, at - begin));
    }
  }
  return escaped;
}

void flush_results() {
  std::cout.flush();
  if (!std::cout) throw Error(ErrorCode::kOutput, "cannot write to standard output");
}

void write_output(const std::string& path, std::span<const uint8_t> bytes) {
  const auto old = platform::status(path);
  if (old && old->kind == platform::FileKind::kOther) return write_stream(path, bytes);
  OutputFile file(path);
  file.append(bytes);
  file.publish();
}

}  // namespace lightcap::internal::cli
