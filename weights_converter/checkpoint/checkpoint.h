// One interface to all checkpoint formats: a list of named tensors whose bytes stay in the mapped
// file until they are read.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_CHECKPOINT_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_CHECKPOINT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/limits.h"
#include "weights_converter/checkpoint/element_type.h"
#include "weights_converter/checkpoint/storage.h"

namespace lightcap::internal {

struct CheckpointTensor {
  // Dotted path from the file's root; the parameters and buffers of a pickled module are named as
  // in its state dict. Empty for a file that is a single tensor.
  std::string name;
  ElementType type = ElementType::kF32;
  std::vector<uint64_t> shape;    // empty for a scalar
  std::vector<uint64_t> strides;  // in elements; 0 for dimensions that were expanded
  uint32_t storage = 0;           // index into Checkpoint::storages
  uint64_t offset = 0;            // of the first element, in bytes from the storage's start
  // Why its values cannot be read ("quantised", "sparse" ...), or empty. Type, strides and storage
  // mean nothing then.
  std::string refusal;

  // Product of the shape; it fits, because reading the file checks it.
  uint64_t elements() const;
};

// A pickled module's attribute that is no tensor: numbers (bools too) or texts. A single one is a
// list of one; a dictionary that counts its entries (Ultralytics' names) is a list too.
struct Attribute {
  std::vector<double> numbers;
  std::vector<std::string> texts;
};

struct Checkpoint {
  std::string path;
  std::string format;  // "zip torch.save", "TorchScript" ... for messages
  uint64_t file_bytes = 0;

  std::vector<Storage> storages;
  std::vector<CheckpointTensor> tensors;  // in the file's order

  // By dotted path, of modules that were pickled whole: `model.model.0.bn.eps`, `model.names`,
  // `model.yaml.nc`. The class of a module is under its path + ".__class__", with its Python
  // module: `models.yolo.DetectionModel`.
  std::map<std::string, Attribute> attributes;
  // Tensors that are plain attributes and in no state dict: `model.stride`.
  std::vector<CheckpointTensor> attribute_tensors;
  // Dotted paths of NumPy arrays, where a state dict has tensors. Their values are not read.
  std::vector<std::string> numpy_arrays;

  // The first of that name, or null. Two have one name only where a file means to confuse:
  // {"a.b": ..., "a": {"b": ...}}.
  const CheckpointTensor* find(std::string_view name) const;

  // All three throw Error(kCheckpoint) for a refused tensor, a damaged archive entry (zip's CRC-32
  // or inflating), and for numbers that a float32 cannot hold. Safe to call from several threads.
  // Row-major; `out` has elements() floats. f64 and integers are rounded to nearest, bool is 0
  // or 1.
  void read_as_f32(const CheckpointTensor& tensor, std::span<float> out) const;
  std::vector<float> read_as_f32(const CheckpointTensor& tensor) const;
  // The values row-major and little-endian, in pieces of at most 1 MiB (or all at once where the
  // file holds them that way), without a copy of the whole tensor.
  void read_bytes(const CheckpointTensor& tensor,
                  const std::function<void(std::span<const uint8_t>)>& consume) const;

  // Gives back the memory of the file's pages that have been read; they are read again when wanted.
  void release_pages() const;

  // Throws Error(kCheckpoint) where a file that the storages' bytes are in was changed since it was
  // opened.
  void check_unchanged() const;

  // The files that hold the storages' bytes; of a sharded checkpoint, its index first.
  std::vector<std::shared_ptr<const class MappedFile>> owners;
};

// Opens any supported checkpoint, recognised by its content, never by its name. Throws
// Error(kCheckpoint) that says what the file is instead, or what is wrong in it and where. Takes
// time and memory proportional to the file, within the limits of engine/io/limits.h; tensors'
// bytes stay where they are, but for deflated ones when they are first read.
Checkpoint open_checkpoint(const std::string& path);

// The same for a buffer that outlives the result. `path` is for messages. Tests give a lower
// `budget_base`, so that small files show what grows out of proportion.
Checkpoint read_checkpoint(std::span<const uint8_t> file, const std::string& path,
                           uint64_t budget_base = limits::kCheckpointBase);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_CHECKPOINT_H_
