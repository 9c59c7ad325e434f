#include "weights_converter/checkpoint/checkpoint.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "engine/text/printable.h"
#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/mapped_file.h"
#include "weights_converter/checkpoint/readers.h"

namespace lightcap::internal {
namespace {

// A few bytes can claim to be a tensor of any size, with strides of 0: reading it would take memory
// and time out of proportion. Real files expand next to nothing.
void check_expansion(const Checkpoint& checkpoint) {
  constexpr uint64_t kAlways = uint64_t{256} << 20;
  constexpr uint64_t kFactor = 16;
  uint64_t stored = 0;
  for (const Storage& storage : checkpoint.storages) stored += storage.size();
  uint64_t left = kAlways + kFactor * std::min(stored, UINT64_MAX / (2 * kFactor));

  using Key =
      std::tuple<uint32_t, uint64_t, const std::vector<uint64_t>&, const std::vector<uint64_t>&>;
  std::set<Key> seen;  // tied tensors count once
  for (const auto* tensors : {&checkpoint.tensors, &checkpoint.attribute_tensors}) {
    for (const CheckpointTensor& tensor : *tensors) {
      if (!tensor.refusal.empty()) continue;
      if (!seen.emplace(tensor.storage, tensor.offset, tensor.shape, tensor.strides).second) {
        continue;
      }
      const uint64_t bytes = tensor.elements() * element_bytes(tensor.type);
      if (bytes > left) {
        fail_checkpoint("tensor '" + excerpt(tensor.name) + "' of shape " +
                        dims_text(tensor.shape) +
                        " claims far more values than the file has bytes: refused");
      }
      left -= bytes;
    }
  }
}

void read_any(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint) {
  constexpr uint8_t kZip[] = {'P', 'K', 3, 4};
  if (file.size() >= 4 && std::equal(kZip, kZip + 4, file.begin())) {
    read_torch_zip(file, budget, checkpoint);
  } else if (is_torch_legacy(file)) {
    read_torch_legacy(file, budget, checkpoint);
  } else if (is_tar(file)) {
    read_torch_tar(file, budget, checkpoint);
  } else if (is_safetensors(file)) {
    read_safetensors(file, budget, checkpoint);
  } else if (is_json(file)) {
    read_shard_index(file, budget, checkpoint);
  } else {
    fail_not_a_checkpoint(file);
  }
}

}  // namespace

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const CheckpointTensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

Checkpoint read_checkpoint(std::span<const uint8_t> file, const std::string& path, Budget& budget) {
  Checkpoint checkpoint;
  checkpoint.path = path;
  checkpoint.file_bytes = file.size();
  try {
    read_any(file, budget, checkpoint);
    check_expansion(checkpoint);
  } catch (const Error& error) {
    throw Error(error.code(), printable(path) + ": " + error.what());
  }
  return checkpoint;
}

Checkpoint read_checkpoint(std::span<const uint8_t> file, const std::string& path,
                           uint64_t budget_base) {
  Budget budget = limits::checkpoint_budget(file.size(), budget_base);
  return read_checkpoint(file, path, budget);
}

Checkpoint open_checkpoint(const std::string& path) {
  auto file = MappedFile::open(path);
  Checkpoint checkpoint = read_checkpoint(file->bytes(), path);
  checkpoint.owners.insert(checkpoint.owners.begin(), std::move(file));
  return checkpoint;
}

void Checkpoint::release_pages() const {
  for (const auto& owner : owners) owner->release_pages();
}

void Checkpoint::check_unchanged() const {
  for (const auto& owner : owners) owner->check_unchanged();
}

}  // namespace lightcap::internal
