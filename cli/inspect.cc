// lightcap inspect: what a .lcw file holds.
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/cli.h"
#include "cli/output.h"
#include "engine/io/crc32.h"
#include "engine/io/weights_file.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "models/weights.h"

namespace lightcap::internal::cli {
namespace {

using nlohmann::ordered_json;

// Long lists (the vocabulary) are counted, not printed.
constexpr size_t kShownStrings = 8;
constexpr char kCard[] = "card";

ordered_json to_json(const Value& value) {
  if (const auto* strings = std::get_if<std::vector<std::string_view>>(&value)) {
    if (strings->size() > kShownStrings) return {{"strings", strings->size()}};
  }
  return std::visit([](const auto& v) { return ordered_json(v); }, value);
}

ordered_json describe(const WeightsFile& file, const std::string& path) {
  ordered_json keys = ordered_json::object();
  // To look each key up among those before it would take quadratic time; the file has none twice.
  auto& entries = keys.get_ref<ordered_json::object_t&>();
  for (const auto& [key, value] : file.key_values()) {
    entries.emplace_back(std::string(key), to_json(value));
  }
  ordered_json tensors = ordered_json::array();
  uint64_t parameters = 0, bytes = 0;
  for (const TensorEntry& tensor : file.tensors()) {
    uint64_t count = 1;
    for (const uint64_t dim : tensor.dims) count *= dim;
    parameters += count;
    bytes += tensor.bytes;
    tensors.push_back({{"name", tensor.name},
                       {"type", data_type_name(tensor.type)},
                       {"shape", tensor.dims},
                       {"layout", layout_name(tensor.layout)},
                       {"offset", tensor.offset},
                       {"bytes", tensor.bytes}});
  }
  return {{"file", path},
          {"file_bytes", file.bytes().size},
          {"format_version", kWeightsVersion},
          {"parameters", parameters},
          {"tensor_bytes", bytes},
          {"key_values", std::move(keys)},
          {"tensors", std::move(tensors)}};
}

// The model card as it was written, behind all else.
void print_card(const ordered_json& key_values) {
  const auto card = key_values.find(kCard);
  if (card == key_values.end() || !card->is_string()) return;
  const std::string lines = printable_lines(card->get_ref<const std::string&>());
  std::cout << "\n" << lines;
  if (!lines.empty() && !lines.ends_with('\n')) std::cout << "\n";
}

void print_text(const ordered_json& all) {
  std::cout << printable(all["file"].get_ref<const std::string&>()) << ": " << all["file_bytes"]
            << " bytes, " << all["tensors"].size() << " tensors, " << all["parameters"]
            << " parameters\n\n";
  for (const auto& [key, value] : all["key_values"].items()) {
    if (key == kCard && value.is_string()) continue;
    const bool counted = value.is_object();
    std::cout << printable(key) << " = "
              << (counted ? value["strings"].dump() + " strings" : json_text(value)) << "\n";
  }
  std::cout << "\n";
  for (const ordered_json& tensor : all["tensors"]) {
    std::string shape;
    for (const ordered_json& dim : tensor["shape"])
      shape += (shape.empty() ? "[" : ", ") + dim.dump();
    std::cout << std::left << std::setw(62)
              << printable(tensor["name"].get_ref<const std::string&>()) << std::setw(5)
              << tensor["type"].get_ref<const std::string&>() << std::setw(22) << shape + "]"
              << std::setw(13) << tensor["layout"].get_ref<const std::string&>() << std::right
              << std::setw(12) << tensor["bytes"].dump() << "\n";
  }
  print_card(all["key_values"]);
}

// Names of the tensors whose contents don't match their checksums.
std::vector<std::string> damaged_tensors(const WeightsFile& file) {
  std::vector<std::string> damaged;
  for (const TensorEntry& tensor : file.tensors()) {
    if (crc32(file.data(tensor), tensor.bytes) != tensor.crc32) damaged.emplace_back(tensor.name);
  }
  return damaged;
}

int inspect(const std::string& path, bool verify, bool json) {
  const Weights weights(WeightsFile::open(path));  // checks that a model is in it, not only tensors
  const WeightsFile& file = weights.file();
  ordered_json all = describe(file, path);
  std::vector<std::string> damaged;
  if (verify) {
    damaged = damaged_tensors(file);
    all["damaged"] = damaged;
  }
  if (json) {
    std::cout << json_text(all, 2) << "\n";
  } else {
    print_text(all);
  }
  flush_results();  // what follows may be an error of its own
  if (!damaged.empty()) {
    std::string names;
    for (const std::string& name : damaged) names += "\n  " + name;
    throw Error(ErrorCode::kMismatch, path + ": the contents of " + std::to_string(damaged.size()) +
                                          " tensors don't match their checksums:" + names);
  }
  if (verify) std::cerr << "lightcap: all " << file.tensors().size() << " checksums match\n";
  return 0;
}

}  // namespace

Command add_inspect(CLI::App& app) {
  struct Options {
    std::string model;
    bool verify = false, json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "Show what a .lcw file holds");
  command->add_option("MODEL", options->model, "The .lcw file")->required();
  command->add_flag("--verify", options->verify, "Check every tensor against its checksum");
  command->add_flag("--json", options->json, "Print one JSON object");
  return [options] { return inspect(options->model, options->verify, options->json); };
}

}  // namespace lightcap::internal::cli
