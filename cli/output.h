// The output of the program: messages, JSON, files.
#ifndef LIGHTCAP_CLI_OUTPUT_H_
#define LIGHTCAP_CLI_OUTPUT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace lightcap::internal::cli {

// "lightcap: message", a line for stderr. The message may quote files and paths: what could do more
// than show itself is escaped, so that nobody's line can pass for ours. Lists, whose lines begin
// with two spaces, keep their line ends.
std::string message_line(std::string_view message);
// Writes that line to stderr.
void report(std::string_view message);

inline void add_fields(nlohmann::ordered_json&) {}
template <class Value, class... Fields>
void add_fields(nlohmann::ordered_json& object, const char* key, Value&& value,
                Fields&&... fields) {
  object[key] = std::forward<Value>(value);
  add_fields(object, std::forward<Fields>(fields)...);
}
// The object {key: value, key: value ...}. nlohmann-json's own constructor of a braced list loses
// memory where it cannot get more.
template <class... Fields>
nlohmann::ordered_json json_object(Fields&&... fields) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  add_fields(object, std::forward<Fields>(fields)...);
  return object;
}

// JSON as text, on one line or with `indent` spaces a level. Strings may hold any bytes: those that
// are not UTF-8 become U+FFFD, and what a terminal would obey is escaped as JSON has it.
std::string json_text(const nlohmann::ordered_json& value, int indent = -1);

// Throws Error(kOutput) where output to stdout did not arrive, such as on a full disk.
void flush_results();

// Writes a file that appears complete or not at all; or into what stands there, where that is a
// pipe or a device. Throws Error(kOutput) that names the path.
void write_output(const std::string& path, std::span<const uint8_t> bytes);

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_OUTPUT_H_
