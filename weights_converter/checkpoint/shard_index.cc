// model.safetensors.index.json: {"weight_map": {tensor: file}}.
#include <nlohmann/json.hpp>
#include <set>

#include "engine/io/limits.h"
#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/mapped_file.h"
#include "weights_converter/checkpoint/readers.h"

namespace lightcap::internal {
namespace {

constexpr size_t kMaxBytes = 100'000'000;

// Bytes that a map takes for a name, beside its text.
constexpr uint64_t kNameCost = 96;

// The tensors' names and the shards that hold them.
struct Index {
  std::set<std::string> shards;
  std::map<std::string, const std::string*> tensors;
};

// Receives the index's JSON piece by piece and keeps `weight_map` alone, so that nothing else in
// the file takes memory.
class IndexHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit IndexHandler(Budget& budget) : budget_(budget) {}

  Index index;
  bool found = false;  // a weight_map

  bool null() override { return other_value(); }
  bool boolean(bool) override { return other_value(); }
  bool number_integer(number_integer_t) override { return other_value(); }
  bool number_unsigned(number_unsigned_t) override { return other_value(); }
  bool number_float(number_float_t, const string_t&) override { return other_value(); }
  bool binary(binary_t&) override { return other_value(); }
  bool string(string_t& value) override {
    if (in_map_) {
      add(value);
      return true;
    }
    return other_value();
  }
  bool start_object(size_t) override {
    if (depth_ == 1 && key_ == kMapName) {
      in_map_ = found = true;
      index = Index();  // of two, JSON's readers take the last
    } else {
      other_value();
    }
    return open();
  }
  bool end_object() override { return close(); }
  bool start_array(size_t) override {
    other_value();
    return open();
  }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (in_map_ || depth_ == 1) key_ = value;
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
    found = false;
    return false;
  }

 private:
  static constexpr const char* kMapName = "weight_map";

  bool other_value() {
    if (in_map_) fail_shard("");
    if (depth_ == 1 && key_ == kMapName) found = false;
    return true;
  }
  bool open() {
    if (++depth_ > limits::kMaxIndexDepth) {
      fail_checkpoint("a JSON file that is nested more than " +
                      std::to_string(limits::kMaxIndexDepth) +
                      " deep, the limit for an index of shards");
    }
    return true;
  }
  bool close() {
    --depth_;
    in_map_ = false;
    return true;
  }
  void add(const std::string& shard) {
    if (shard.empty() || shard.find_first_of("/\\") != std::string::npos || shard == "..") {
      fail_shard(shard);
    }
    if (index.shards.count(shard) == 0) budget_.charge(kNameCost + shard.size());
    budget_.charge(kNameCost + key_.size());
    index.tensors[key_] = &*index.shards.insert(shard).first;
  }
  [[noreturn]] void fail_shard(const std::string& shard) const {
    fail_checkpoint("the index keeps tensor '" + excerpt(key_) +
                    "' in a file that is not beside it: '" + excerpt(shard) + "'");
  }

  Budget& budget_;
  std::string key_;
  uint64_t depth_ = 0;
  bool in_map_ = false;
};

// Appends `shard` to `whole`, but only the tensors that the index expects there.
void merge(Checkpoint shard, const std::string& file, const Index& index, Checkpoint& whole) {
  const auto first = static_cast<uint32_t>(whole.storages.size());
  for (Storage& storage : shard.storages) whole.storages.push_back(std::move(storage));
  for (auto& owner : shard.owners) whole.owners.push_back(std::move(owner));
  whole.file_bytes += shard.file_bytes;
  for (CheckpointTensor& tensor : shard.tensors) {
    const auto found = index.tensors.find(tensor.name);
    if (found == index.tensors.end() || *found->second != file) continue;
    tensor.storage += first;
    whole.tensors.push_back(std::move(tensor));
  }
}

Index read_index(std::span<const uint8_t> file, Budget& budget) {
  if (file.size() > kMaxBytes) fail_checkpoint("a JSON file too large for an index of shards");
  IndexHandler handler(budget);
  const auto* text = reinterpret_cast<const char*>(file.data());
  nlohmann::json::sax_parse(text, text + file.size(), &handler);
  if (!handler.found) {
    fail_checkpoint(
        "a JSON file, but not the index of a sharded checkpoint (it has no \"weight_map\"); name "
        "the file that holds the weights");
  }
  return std::move(handler.index);
}

}  // namespace

bool is_json(std::span<const uint8_t> file) {
  for (const uint8_t c : file) {
    if (c == '{') return true;
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return false;
  }
  return false;
}

void read_shard_index(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint) {
  checkpoint.format = "sharded index";
  Index index = read_index(file, budget);
  const std::string folder = checkpoint.path.substr(0, checkpoint.path.rfind('/') + 1);
  std::vector<std::pair<std::string, std::shared_ptr<const MappedFile>>> shards;
  uint64_t bytes = file.size();
  for (const std::string& shard : index.shards) {
    auto mapped = MappedFile::open(folder + shard);
    if (is_json(mapped->bytes())) {
      fail_checkpoint("shard '" + excerpt(shard) + "' is a JSON file itself");
    }
    bytes += mapped->bytes().size();
    shards.emplace_back(shard, std::move(mapped));
  }
  // One for all, or each of many small shards could take what a small file may.
  Budget shards_budget = limits::checkpoint_budget(bytes);
  for (const auto& [shard, mapped] : shards) {
    Checkpoint part = read_checkpoint(mapped->bytes(), folder + shard, shards_budget);
    part.owners.push_back(mapped);
    merge(std::move(part), shard, index, checkpoint);
  }
  for (const CheckpointTensor& tensor : checkpoint.tensors) index.tensors.erase(tensor.name);
  if (!index.tensors.empty()) {
    const auto& [name, shard] = *index.tensors.begin();
    fail_checkpoint("the index says that tensor '" + excerpt(name) + "' is in '" + excerpt(*shard) +
                    "', which does not have it");
  }
}

}  // namespace lightcap::internal
