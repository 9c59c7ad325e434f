// model.safetensors.index.json: {"weight_map": {tensor: file}}.
#include <nlohmann/json.hpp>

#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/mapped_file.h"
#include "weights_converter/checkpoint/readers.h"

namespace lightcap {
namespace {

constexpr size_t kMaxBytes = 100'000'000;

// Appends `shard` to `whole`, but only the tensors that the index expects there.
void merge(Checkpoint shard, const std::map<std::string, std::string>& files,
           const std::string& file, Checkpoint& whole) {
  const auto first = static_cast<uint32_t>(whole.storages.size());
  for (Storage& storage : shard.storages) whole.storages.push_back(std::move(storage));
  for (auto& owner : shard.owners) whole.owners.push_back(std::move(owner));
  whole.file_bytes += shard.file_bytes;
  for (CheckpointTensor& tensor : shard.tensors) {
    const auto found = files.find(tensor.name);
    if (found == files.end() || found->second != file) continue;
    tensor.storage += first;
    whole.tensors.push_back(std::move(tensor));
  }
}

}  // namespace

bool is_json(std::span<const uint8_t> file) {
  for (const uint8_t c : file) {
    if (c == '{') return true;
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return false;
  }
  return false;
}

void read_shard_index(std::span<const uint8_t> file, Checkpoint& checkpoint) {
  checkpoint.format = "sharded index";
  if (file.size() > kMaxBytes) fail_checkpoint("a JSON file too large for an index of shards");
  // As characters: a library of strings need not know any of other bytes.
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  const auto index = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    fail_checkpoint(
        "a JSON file, but not the index of a sharded checkpoint (it has no \"weight_map\"); name "
        "the file that holds the weights");
  }
  std::map<std::string, std::string> files;
  std::map<std::string, bool> shards;
  for (const auto& [name, value] : index["weight_map"].items()) {
    const std::string shard = value.is_string() ? value.get<std::string>() : "";
    if (shard.empty() || shard.find_first_of("/\\") != std::string::npos || shard == "..") {
      fail_checkpoint("the index keeps tensor '" + printable(name) +
                      "' in a file that is not beside it: '" + printable(shard) + "'");
    }
    files[name] = shard;
    shards[shard] = true;
  }
  const std::string folder = checkpoint.path.substr(0, checkpoint.path.rfind('/') + 1);
  for (const auto& [shard, unused] : shards) {
    const auto mapped = MappedFile::open(folder + shard);
    if (is_json(mapped->bytes())) {
      fail_checkpoint("shard '" + printable(shard) + "' is a JSON file itself");
    }
    Checkpoint part = read_checkpoint(mapped->bytes(), folder + shard);
    part.owners.push_back(mapped);
    merge(std::move(part), files, shard, checkpoint);
  }
  for (const CheckpointTensor& tensor : checkpoint.tensors) files.erase(tensor.name);
  if (!files.empty()) {
    const auto& [name, shard] = *files.begin();
    fail_checkpoint("the index says that tensor '" + printable(name) + "' is in '" +
                    printable(shard) + "', which does not have it");
  }
}

}  // namespace lightcap
