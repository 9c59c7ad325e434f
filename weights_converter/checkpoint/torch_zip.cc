// torch.save's zip archives: ROOT/data.pkl is a pickle, ROOT/data/KEY a storage each. TorchScript
// archives are the same with the modules' code beside it.
#include <charconv>
#include <memory>

#include "engine/io/limits.h"
#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/readers.h"
#include "weights_converter/checkpoint/tensor_walk.h"
#include "weights_converter/checkpoint/zip_archive.h"

namespace lightcap::internal {
namespace {

// Bytes of memory for a storage, with its node in a map.
constexpr uint64_t kStorageCost = 384;
constexpr int kNewestVersion = 10;  // PyTorch's kMaxSupportedFileFormatVersion

std::string_view as_text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ZipStorages : public StorageSource {
 public:
  ZipStorages(const ZipArchive& archive, std::string folder, bool big_endian, Budget& budget,
              Checkpoint& checkpoint)
      : archive_(archive),
        folder_(std::move(folder)),
        big_endian_(big_endian),
        budget_(budget),
        checkpoint_(checkpoint) {}

  uint32_t storage(std::string_view key) override {
    const auto known = indices_.find(key);
    if (known != indices_.end()) return known->second;
    const ZipEntry* entry = archive_.find(folder_ + std::string(key));
    if (entry == nullptr) {
      fail_checkpoint("the archive has no entry '" + excerpt(folder_ + std::string(key)) +
                      "' for a storage that its data.pkl names");
    }
    const auto index = static_cast<uint32_t>(checkpoint_.storages.size());
    // Now rather than when it is read, which is when memory is taken: whether a file is refused
    // does not depend on what is read of it.
    budget_.charge(kStorageCost + key.size() + (entry->is_deflated() ? entry->size : 0));
    checkpoint_.storages.emplace_back(entry->size, big_endian_,
                                      [entry = *entry, held = std::make_shared<ZipBytes>()] {
                                        *held = read_zip_entry(entry);
                                        return held->bytes;
                                      });
    indices_.emplace(key, index);
    return index;
  }

 private:
  const ZipArchive& archive_;
  std::string folder_;
  bool big_endian_;
  Budget& budget_;
  Checkpoint& checkpoint_;
  std::map<std::string, uint32_t, std::less<>> indices_;
};

// Refuses a zip that holds no data.pkl, and says what it is instead.
[[noreturn]] void fail_other_zip(const ZipArchive& archive) {
  for (const ZipEntry& entry : archive.entries()) {
    const std::string_view name = entry.name;
    const std::string_view file = name.substr(name.rfind('/') + 1);
    // The second is how torch.export wrote until PyTorch 2.7.
    if (file == "archive_format" || file == "serialized_exported_program.json") {
      fail_checkpoint(
          "a program of torch.export (.pt2), not a checkpoint; load it with torch.export.load and "
          "save its state_dict with torch.save");
    }
  }
  for (const ZipEntry& entry : archive.entries()) {
    const std::string_view name = entry.name;
    if (name.ends_with("model.json")) {
      fail_checkpoint(
          "a TorchScript archive of PyTorch before 1.4 (it has model.json); load it with PyTorch "
          "1.4 or later and save its state_dict() with torch.save");
    }
    if (name.ends_with(".npy")) {
      fail_checkpoint(
          "a NumPy .npz archive, not a PyTorch checkpoint; load it with NumPy and save its arrays "
          "as safetensors or with torch.save");
    }
    if (name == "config.json" || name.ends_with(".weights.h5") ||
        name.ends_with("saved_model.pb")) {
      fail_checkpoint(
          "a Keras or TensorFlow archive, not a PyTorch checkpoint; convert it to PyTorch first");
    }
  }
  const std::string first =
      archive.entries().empty() ? "nothing" : "'" + excerpt(archive.entries()[0].name) + "'";
  fail_checkpoint(
      "a zip archive that torch.save did not write: it has no data.pkl, its first entry is " +
      first + "; if a checkpoint is inside, unpack it and name that file");
}

// "archive/" of "archive/data.pkl". The name survives renaming the file, so it can be anything.
std::string find_root(const ZipArchive& archive) {
  constexpr std::string_view kName = "data.pkl";
  const ZipEntry* found = nullptr;
  for (const ZipEntry& entry : archive.entries()) {
    if (!entry.name.ends_with(kName)) continue;
    const std::string_view root = entry.name.substr(0, entry.name.size() - kName.size());
    if (!root.empty() && root.back() != '/') continue;
    if (found != nullptr) {
      fail_checkpoint("the archive holds two checkpoints, '" + excerpt(found->name) + "' and '" +
                      excerpt(entry.name) + "'; expected one");
    }
    found = &entry;
  }
  if (found == nullptr) fail_other_zip(archive);
  return std::string(found->name.substr(0, found->name.size() - kName.size()));
}

// Unpacks an entry as a whole before the tensors are known: pickles, code, version numbers.
ZipBytes read_part(const ZipEntry& entry, Budget& budget) {
  if (entry.is_deflated()) {
    const uint64_t most =
        limits::proportional(limits::kUnpackedBase, limits::kUnpackedFactor, entry.packed.size());
    if (entry.size > most) {
      fail_checkpoint("zip entry '" + excerpt(entry.name) + "' unpacks from " +
                      std::to_string(entry.packed.size()) + " to " + std::to_string(entry.size) +
                      " bytes, the limit for it is " + std::to_string(most));
    }
    budget.charge(entry.size);
  }
  return read_zip_entry(entry);
}

void check_version(const ZipArchive& archive, const std::string& root, Budget& budget) {
  const ZipEntry* entry = archive.find(root + "version");
  if (entry == nullptr) return;
  const ZipBytes bytes = read_part(*entry, budget);
  const std::string_view text = as_text(bytes.bytes);
  int version = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), version);
  if (result.ec != std::errc() || version < 1) {
    fail_checkpoint("the archive's version is '" + excerpt(text) + "', expected a number");
  }
  if (version > kNewestVersion) {
    fail_checkpoint("the archive has format version " + std::to_string(version) +
                    ", newer than the newest known, " + std::to_string(kNewestVersion));
  }
}

bool is_big_endian(const ZipArchive& archive, const std::string& root, Budget& budget) {
  const ZipEntry* entry = archive.find(root + "byteorder");
  if (entry == nullptr) return false;  // before PyTorch 2.1 there was none
  const ZipBytes bytes = read_part(*entry, budget);
  const std::string_view order = as_text(bytes.bytes);
  if (order != "little" && order != "big") {
    fail_checkpoint("the archive's byte order is '" + excerpt(order) +
                    "', expected 'little' or 'big'");
  }
  return order == "big";
}

// Bytes that a map or set takes for an entry, with a ScriptClass or a text.
constexpr uint64_t kClassCost = sizeof(ScriptClass) + 96;
constexpr uint64_t kTextCost = 96;

// The strings of `["weight", "bias", ]`.
void add_strings(std::string_view line, Budget& budget,
                 std::set<std::string, std::less<>>& strings) {
  size_t quote = line.find('"');
  while (quote != std::string_view::npos) {
    const size_t end = line.find('"', quote + 1);
    if (end == std::string_view::npos) return;
    budget.charge(kTextCost + end - quote);
    strings.emplace(line.substr(quote + 1, end - quote - 1));
    quote = line.find('"', end + 1);
  }
}

// Classes in one file of TorchScript code:
//   class Linear(Module):
//     __parameters__ = ["weight", "bias", ]
//     __buffers__ = []
// Those whose name no pickle may have are left out.
void add_classes(const std::string& module, std::string_view code, Budget& budget,
                 ScriptClasses& classes) {
  ScriptClass* current = nullptr;
  while (!code.empty()) {
    const size_t end = std::min(code.find('\n'), code.size());
    const std::string_view line = code.substr(0, end);
    code.remove_prefix(std::min(end + 1, code.size()));
    if (line.starts_with("class ")) {
      const size_t name_end = std::min(line.find_first_of("(:"), line.size());
      const std::string_view name = line.substr(6, name_end - 6);
      current = nullptr;
      if (module.size() + 1 + name.size() > limits::kMaxClassName) continue;
      budget.charge(kClassCost + module.size() + 1 + name.size());
      std::string full;
      full.reserve(module.size() + 1 + name.size());
      full += module;
      full += '.';
      full += name;
      current = &classes[std::move(full)];
      current->is_module = line.substr(name_end).starts_with("(Module)");
    } else if (current != nullptr) {
      const bool buffers = line.starts_with("  __buffers__ = ");
      if (buffers) current->declares_buffers = true;
      if (buffers || line.starts_with("  __parameters__ = ")) {
        add_strings(line, budget, current->tensors);
      }
    }
  }
}

ScriptClasses read_classes(const ZipArchive& archive, const std::string& root, Budget& budget) {
  const std::string folder = root + "code/";
  ScriptClasses classes;
  for (const ZipEntry& entry : archive.entries()) {
    if (!entry.name.starts_with(folder) || !entry.name.ends_with(".py")) continue;
    std::string module(entry.name.substr(folder.size(), entry.name.size() - folder.size() - 3));
    for (char& c : module) {
      if (c == '/') c = '.';
    }
    const ZipBytes code = read_part(entry, budget);
    add_classes(module, as_text(code.bytes), budget, classes);
  }
  return classes;
}

}  // namespace

void read_torch_zip(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint) {
  const ZipArchive archive(file);
  const std::string root = find_root(archive);
  const bool script = archive.find(root + "constants.pkl") != nullptr;
  checkpoint.format = script ? "TorchScript" : "torch.save (zip)";
  check_version(archive, root, budget);

  ZipStorages storages(archive, root + "data/", is_big_endian(archive, root, budget), budget,
                       checkpoint);
  const ZipBytes bytes = read_part(*archive.find(root + "data.pkl"), budget);
  const Pickle pickle(bytes.bytes, "data.pkl", budget);
  collect_tensors(pickle, storages, script ? read_classes(archive, root, budget) : ScriptClasses(),
                  budget, checkpoint);
}

}  // namespace lightcap::internal
