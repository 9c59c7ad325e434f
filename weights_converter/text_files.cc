#include "weights_converter/text_files.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "engine/io/limits.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "engine/text/unicode.h"
#include "weights_converter/checkpoint/mapped_file.h"
#include "weights_converter/names.h"

namespace lightcap::internal {
namespace {

using Json = nlohmann::json;

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::kCheckpoint, printable(path) + ": " + what);
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t";
  const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

std::vector<std::string_view> split_lines(std::string_view text, const std::string& path) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
  }
  while (!lines.empty() && trim(lines.back()).empty()) lines.pop_back();
  if (lines.empty()) fail(path, "the file is empty");
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string where = "line " + std::to_string(i + 1);
    if (!is_utf8(lines[i])) fail(path, where + " is not UTF-8 text");
    if (trim(lines[i]).empty()) fail(path, where + " is empty");
  }
  return lines;
}

// Takes hyper-parameters from a flat map, in the way of Config's visitors.
class ConfigReader {
 public:
  explicit ConfigReader(std::map<std::string, Json> values) : values_(std::move(values)) {}

  void operator()(const char* key, uint64_t& number, uint64_t lowest, uint64_t highest) {
    take(key, [&](const Json& value) {
      if (!value.is_number_unsigned() || value.get<uint64_t>() < lowest ||
          value.get<uint64_t>() > highest) {
        return expected("a whole number from ", lowest, highest);
      }
      number = value.get<uint64_t>();
      return std::string();
    });
  }
  void operator()(const char* key, double& number, double lowest, double highest) {
    take(key, [&](const Json& value) {
      if (!in_range(value, lowest, highest)) return expected("a number from ", lowest, highest);
      number = value.get<double>();
      return std::string();
    });
  }
  void operator()(const char* key, bool& flag) {
    take(key, [&](const Json& value) {
      if (!value.is_boolean()) return std::string("true or false");
      flag = value.get<bool>();
      return std::string();
    });
  }
  template <class Enum, size_t n>
  requires std::is_enum_v<Enum>
  void operator()(const char* key, Enum& choice, const std::array<const char*, n>& names) {
    take(key, [&](const Json& value) {
      std::string known;
      for (size_t i = 0; i < n; ++i) {
        if (value == names[i]) {
          choice = static_cast<Enum>(i);
          return std::string();
        }
        known += std::string(i == 0 ? "\"" : " or \"") + names[i] + "\"";
      }
      return known;
    });
  }
  template <size_t n>
  void operator()(const char* key, std::array<double, n>& numbers, double lowest, double highest) {
    take(key, [&](const Json& value) {
      const bool good = value.is_array() && value.size() == n &&
                        std::all_of(value.begin(), value.end(), [&](const Json& one) {
                          return in_range(one, lowest, highest);
                        });
      if (!good) return expected(std::to_string(n) + " numbers from ", lowest, highest);
      for (size_t i = 0; i < n; ++i) numbers[i] = value[i].get<double>();
      return std::string();
    });
  }

  // Returns the errors, a line each; empty when all is well. Call it last.
  std::string complaints() {
    constexpr size_t kShown = 20;
    size_t count = 0;
    for (const auto& [unknown, value] : values_) {
      if (++count > kShown) {
        complain("and " + std::to_string(values_.size() - kShown) + " more");
        break;
      }
      const std::string key = printable(unknown, kMostShown);
      const auto nearest = std::min_element(known_.begin(), known_.end(), [&](auto& a, auto& b) {
        return edit_distance(a, key) < edit_distance(b, key);
      });
      complain(key + " is not known, did you mean " + *nearest + "?");
    }
    return complaints_;
  }

 private:
  // `read` returns what it would have expected, or nothing.
  template <class Read>
  void take(const char* key, Read&& read) {
    known_.push_back(key);
    const auto found = values_.find(key);
    if (found == values_.end()) return;
    const std::string wanted = read(found->second);
    if (!wanted.empty()) {
      const std::string given = found->second.dump(-1, ' ', false, Json::error_handler_t::replace);
      constexpr size_t kShown = 60;
      complain(std::string(key) + " is " + printable(given, kShown) + ", expected " + wanted);
    }
    values_.erase(found);
  }
  void complain(const std::string& what) { complaints_ += "\n  " + what; }

  static bool in_range(const Json& value, double lowest, double highest) {
    return value.is_number() && value.get<double>() >= lowest && value.get<double>() <= highest;
  }
  template <class Number>
  static std::string expected(const std::string& what, Number lowest, Number highest) {
    return what + Json(lowest).dump() + " to " + Json(highest).dump();
  }

  static constexpr size_t kMostShown = 80;

  std::map<std::string, Json> values_;
  std::vector<std::string> known_;
  std::string complaints_;
};

}  // namespace

std::string read_text(const std::string& path) {
  const auto file = MappedFile::open(path);
  return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

std::vector<std::string> parse_vocabulary(std::string_view text, const std::string& path) {
  const std::vector<std::string_view> lines = split_lines(text, path);
  std::string missing;
  for (const char* special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    if (std::find(lines.begin(), lines.end(), special) == lines.end()) {
      missing += std::string(" ") + special;
    }
  }
  if (!missing.empty()) {
    fail(path, "not a WordPiece vocabulary: of its " + std::to_string(lines.size()) +
                   " lines none is" + missing);
  }
  return {lines.begin(), lines.end()};
}

std::vector<std::string> parse_labels(std::string_view text, const std::string& path) {
  std::vector<std::string> labels;
  for (const std::string_view line : split_lines(text, path)) {
    const std::string_view label = trim(line.substr(0, line.find(',')));
    if (label.empty()) {
      fail(path, "line " + std::to_string(labels.size() + 1) + " has no label before its comma");
    }
    labels.emplace_back(label);
  }
  return labels;
}

std::string parse_card(std::string_view text, const std::string& path) {
  if (text.size() > kCardBytes) {
    fail(path, "the card has " + std::to_string(text.size()) + " bytes, expected at most " +
                   std::to_string(kCardBytes));
  }
  if (trim(text).empty()) fail(path, "the file is empty");
  if (!is_utf8(text)) fail(path, "the card is not UTF-8 text");
  std::string card(text);
  std::erase(card, '\r');
  return card;
}

void parse_config(std::string_view text, const std::string& path, Config& config) {
  Json file;
  try {
    // Deeper values would be copied and freed recursively.
    file = Json::parse(text, [&path](int depth, Json::parse_event_t event, const Json&) {
      const bool opens =
          event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
      if (opens && depth >= limits::kConfigDepth) {
        fail(path, "not JSON of at most " + std::to_string(limits::kConfigDepth) +
                       " levels, the limit: its lists and objects are nested deeper");
      }
      return true;
    });
  } catch (const Json::exception& error) {
    fail(path, "not JSON: " + printable(error.what(), 200));
  }
  if (!file.is_object())
    fail(path, "expected an object with the blocks image_encoder, detector ...");
  std::map<std::string, Json> values;
  for (const auto& [block, members] : file.items()) {
    if (!members.is_object()) {
      values[block] = members;
      continue;
    }
    for (const auto& [key, value] : members.items()) values[block + "." + key] = value;
  }
  ConfigReader reader(std::move(values));
  visit_hyper_parameters(config, reader);
  const std::string complaints = reader.complaints();
  if (!complaints.empty()) fail(path, "these settings are wrong:" + complaints);
}

}  // namespace lightcap::internal
