// torch.save's zip archives: ROOT/data.pkl is a pickle, ROOT/data/KEY a storage each. TorchScript
// archives are the same with the modules' code beside it.
#include <charconv>
#include <memory>

#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/readers.h"
#include "weights_converter/checkpoint/tensor_walk.h"
#include "weights_converter/checkpoint/zip_archive.h"

namespace lightcap {
namespace {

constexpr int kNewestVersion = 10;  // PyTorch's kMaxSupportedFileFormatVersion

std::string_view as_text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ZipStorages : public StorageSource {
 public:
  ZipStorages(const ZipArchive& archive, std::string folder, bool big_endian,
              Checkpoint& checkpoint)
      : archive_(archive),
        folder_(std::move(folder)),
        big_endian_(big_endian),
        checkpoint_(checkpoint) {}

  uint32_t storage(std::string_view key) override {
    const auto known = indices_.find(key);
    if (known != indices_.end()) return known->second;
    const ZipEntry* entry = archive_.find(folder_ + std::string(key));
    if (entry == nullptr) {
      fail_checkpoint("the archive has no entry '" + printable(folder_ + std::string(key)) +
                      "' for a storage that its data.pkl names");
    }
    const auto index = static_cast<uint32_t>(checkpoint_.storages.size());
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
  Checkpoint& checkpoint_;
  std::map<std::string, uint32_t, std::less<>> indices_;
};

// What a zip is that holds no data.pkl.
[[noreturn]] void fail_other_zip(const ZipArchive& archive) {
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
      archive.entries().empty() ? "nothing" : "'" + printable(archive.entries()[0].name) + "'";
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
      fail_checkpoint("the archive holds two checkpoints, '" + printable(found->name) + "' and '" +
                      printable(entry.name) + "'; expected one");
    }
    found = &entry;
  }
  if (found == nullptr) fail_other_zip(archive);
  return std::string(found->name.substr(0, found->name.size() - kName.size()));
}

void check_version(const ZipArchive& archive, const std::string& root) {
  const ZipEntry* entry = archive.find(root + "version");
  if (entry == nullptr) return;
  const ZipBytes bytes = read_zip_entry(*entry);
  const std::string_view text = as_text(bytes.bytes);
  int version = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), version);
  if (result.ec != std::errc() || version < 1) {
    fail_checkpoint("the archive's version is '" + printable(text) + "', expected a number");
  }
  if (version > kNewestVersion) {
    fail_checkpoint("the archive has format version " + std::to_string(version) +
                    ", newer than the newest known, " + std::to_string(kNewestVersion));
  }
}

bool is_big_endian(const ZipArchive& archive, const std::string& root) {
  const ZipEntry* entry = archive.find(root + "byteorder");
  if (entry == nullptr) return false;  // before PyTorch 2.1 there was none
  const ZipBytes bytes = read_zip_entry(*entry);
  const std::string_view order = as_text(bytes.bytes);
  if (order != "little" && order != "big") {
    fail_checkpoint("the archive's byte order is '" + printable(order) +
                    "', expected 'little' or 'big'");
  }
  return order == "big";
}

// The strings of `["weight", "bias", ]`.
void add_strings(std::string_view line, std::set<std::string, std::less<>>& strings) {
  size_t quote = line.find('"');
  while (quote != std::string_view::npos) {
    const size_t end = line.find('"', quote + 1);
    if (end == std::string_view::npos) return;
    strings.emplace(line.substr(quote + 1, end - quote - 1));
    quote = line.find('"', end + 1);
  }
}

// Classes in one file of TorchScript code:
//   class Linear(Module):
//     __parameters__ = ["weight", "bias", ]
//     __buffers__ = []
void add_classes(const std::string& module, std::string_view code, ScriptClasses& classes) {
  ScriptClass* current = nullptr;
  while (!code.empty()) {
    const size_t end = std::min(code.find('\n'), code.size());
    const std::string_view line = code.substr(0, end);
    code.remove_prefix(std::min(end + 1, code.size()));
    if (line.starts_with("class ")) {
      const size_t name_end = std::min(line.find_first_of("(:"), line.size());
      current = &classes[module + "." + std::string(line.substr(6, name_end - 6))];
      current->is_module = line.substr(name_end).starts_with("(Module)");
    } else if (current != nullptr) {
      const bool buffers = line.starts_with("  __buffers__ = ");
      if (buffers) current->declares_buffers = true;
      if (buffers || line.starts_with("  __parameters__ = ")) add_strings(line, current->tensors);
    }
  }
}

ScriptClasses read_classes(const ZipArchive& archive, const std::string& root) {
  const std::string folder = root + "code/";
  ScriptClasses classes;
  for (const ZipEntry& entry : archive.entries()) {
    if (!entry.name.starts_with(folder) || !entry.name.ends_with(".py")) continue;
    std::string module(entry.name.substr(folder.size(), entry.name.size() - folder.size() - 3));
    for (char& c : module) {
      if (c == '/') c = '.';
    }
    const ZipBytes code = read_zip_entry(entry);
    add_classes(module, as_text(code.bytes), classes);
  }
  return classes;
}

}  // namespace

void read_torch_zip(std::span<const uint8_t> file, Checkpoint& checkpoint) {
  const ZipArchive archive(file);
  const std::string root = find_root(archive);
  const bool script = archive.find(root + "constants.pkl") != nullptr;
  checkpoint.format = script ? "TorchScript" : "torch.save (zip)";
  check_version(archive, root);

  ZipStorages storages(archive, root + "data/", is_big_endian(archive, root), checkpoint);
  const ZipBytes bytes = read_zip_entry(*archive.find(root + "data.pkl"));
  const Pickle pickle(bytes.bytes, "data.pkl");
  collect_tensors(pickle, storages, script ? read_classes(archive, root) : ScriptClasses(),
                  checkpoint);
}

}  // namespace lightcap
