// torch.save before 1.6: five pickles one after the other (magic number, protocol, system, the
// object, the storages' keys), then each storage as an i64 count of elements and its bytes.
#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/readers.h"
#include "weights_converter/checkpoint/tensor_walk.h"

namespace lightcap::internal {
namespace {

constexpr int64_t kProtocol = 1001;

// Bytes of memory for a storage, with its node in a map.
constexpr uint64_t kStorageCost = 192;

bool is_magic(const Pickle& pickle) {
  const Node& root = pickle[pickle.root()];
  return root.kind == NodeKind::kBigInt &&
         (root.text == "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" ||
          root.text == "119547037146038801333356");
}

struct Declared {
  std::string_view key;
  size_t element_bytes;
  int64_t elements;
};

// Elements' sizes stand nowhere but in the object's references to the storages. By the number of
// the key's text: there are more references than storages, and keys can be long.
std::map<uint32_t, Declared> declared_storages(const Pickle& object, Budget& budget) {
  std::map<uint32_t, Declared> storages;
  for (NodeId id = 0; id < object.node_count(); ++id) {
    if (!object.is(id, NodeKind::kPersistent)) continue;
    const auto fields = object.items(object[id].call.arguments);
    if (fields.size() < 5 || object.string(fields[0]) != "storage" ||
        !object.is(fields[1], NodeKind::kGlobal)) {
      continue;
    }
    const auto key = object.string(fields[2]);
    const auto elements = object.integer(fields[4]);
    if (!key || !elements) continue;
    const std::string_view name = object[fields[1]].text;
    const size_t bytes = storage_element_bytes(name.substr(name.rfind('.') + 1));
    const auto [found, added] =
        storages.emplace(object.text_number(fields[2]), Declared{*key, bytes, *elements});
    if (added) budget.charge(kStorageCost);
    const Declared& known = found->second;
    if (!added && (known.element_bytes != bytes || known.elements != *elements)) {
      fail_checkpoint("storage '" + excerpt(*key) + "' is described in two ways");
    }
  }
  return storages;
}

class LegacyStorages : public StorageSource {
 public:
  // Reads the list of keys and finds the storages behind it. Both pickles outlive this.
  LegacyStorages(const Pickle& object, const Pickle& keys, ByteReader& reader, Budget& budget,
                 Checkpoint& checkpoint) {
    if (!keys.is(keys.root(), NodeKind::kList)) {
      fail_checkpoint("the list of storage keys is no list");
    }
    std::map<std::string_view, Declared> declared;
    for (const auto& [number, storage] : declared_storages(object, budget)) {
      declared.emplace(storage.key, storage);
    }
    for (const NodeId item : keys.items(keys.root())) {
      const auto key = keys.string(item);
      const auto found = key ? declared.find(*key) : declared.end();
      if (found == declared.end()) {
        fail_checkpoint("the list of storage keys names '" + excerpt(key.value_or("?")) +
                        "', which no tensor has");
      }
      if (!indices_.emplace(*key, static_cast<uint32_t>(checkpoint.storages.size())).second) {
        fail_checkpoint("storage '" + excerpt(*key) + "' is there twice");
      }
      budget.charge(kStorageCost);
      checkpoint.storages.emplace_back(read_storage(found->second, reader));
    }
  }

  uint32_t storage(std::string_view key) override {
    const auto found = indices_.find(key);
    if (found == indices_.end()) {
      fail_checkpoint("storage '" + excerpt(key) + "' is not in the file");
    }
    return found->second;
  }

 private:
  static std::span<const uint8_t> read_storage(const Declared& expected, ByteReader& reader) {
    const auto elements = static_cast<int64_t>(reader.u64("a storage's size"));
    if (elements != expected.elements || elements < 0) {
      fail_checkpoint("storage '" + excerpt(expected.key) + "' has " + std::to_string(elements) +
                      " elements, expected " + std::to_string(expected.elements));
    }
    if (static_cast<uint64_t>(elements) > reader.left() / expected.element_bytes) {
      fail_checkpoint("the file is truncated: storage '" + excerpt(expected.key) + "' of " +
                      std::to_string(elements) + " elements reaches past its end; get it again");
    }
    return reader.take(static_cast<uint64_t>(elements) * expected.element_bytes, "a storage");
  }

  std::map<std::string_view, uint32_t> indices_;
};

}  // namespace

bool is_torch_legacy(std::span<const uint8_t> file) {
  // PROTO in protocol 2 and later; before that the number is in letters.
  if (file.empty() || (file[0] != 0x80 && file[0] != 'L')) return false;
  constexpr size_t kMagicMaxSize = 32;
  try {
    Budget budget = limits::checkpoint_budget(kMagicMaxSize);
    return is_magic(
        Pickle(file.first(std::min(file.size(), kMagicMaxSize)), "the magic number", budget));
  } catch (const Error&) {
    return false;
  }
}

void read_torch_legacy(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint) {
  checkpoint.format = "torch.save (before 1.6)";
  size_t position = 0;
  const auto next = [&](const char* where) {
    Pickle pickle(file.subspan(position), where, budget, position);
    position += pickle.size();
    return pickle;
  };
  next("the magic number");
  const Pickle protocol = next("the protocol number");
  if (protocol.integer(protocol.root()) != kProtocol) {
    fail_checkpoint("the file's protocol number is not 1001, the only one of this format");
  }
  next("the system's description");
  const Pickle object = next("the object's pickle");
  const Pickle keys = next("the list of storage keys");
  ByteReader reader(file.subspan(position), "the file", position);
  LegacyStorages storages(object, keys, reader, budget, checkpoint);
  collect_tensors(object, storages, {}, budget, checkpoint);
}

}  // namespace lightcap::internal
