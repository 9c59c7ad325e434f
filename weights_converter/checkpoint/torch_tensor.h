// Recognises tensors among a pickle's objects.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TORCH_TENSOR_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TORCH_TENSOR_H_

#include <optional>
#include <string_view>
#include <vector>

#include "weights_converter/checkpoint/checkpoint.h"
#include "weights_converter/checkpoint/pickle.h"

namespace lightcap::internal {

// The source of storages' bytes, which each of PyTorch's file formats has in its own way.
class StorageSource {
 public:
  virtual ~StorageSource() = default;
  // The index in Checkpoint::storages of the storage that the pickle calls `key`. Throws
  // Error(kCheckpoint) where the file has none.
  virtual uint32_t storage(std::string_view key) = 0;
  // The tar format describes tensors outside of the pickle. Null where there is none.
  virtual const CheckpointTensor* tensor(std::string_view /*id*/) { return nullptr; }
};

// The storage classes torch.FloatStorage ..., by name without its module. Nullopt for classes
// whose elements we cannot read; untyped ones are bytes.
std::optional<ElementType> storage_element_type(std::string_view class_name);

// The size of a storage's elements, of those too that we can skip but not read (complex,
// quantised). Throws Error(kCheckpoint) for unknown classes.
size_t storage_element_bytes(std::string_view class_name);

// Checks a tensor's shape, strides and offset (in elements) against a storage of `elements`
// elements, and returns the tensor. Throws Error(kCheckpoint).
CheckpointTensor make_view(ElementType type, uint32_t storage, uint64_t elements, int64_t offset,
                           std::span<const int64_t> shape, std::span<const int64_t> strides);

class TensorDecoder {
 public:
  TensorDecoder(const Pickle& pickle, const Checkpoint& checkpoint, StorageSource& source)
      : pickle_(pickle), checkpoint_(checkpoint), source_(source) {}

  // The tensor (without a name) that a node is: one of torch's rebuild functions, bare or in a
  // Parameter; nullopt for anything else. Throws Error(kCheckpoint) for a malformed one; tensors
  // that are sound but of a kind that we cannot read have `refusal` set.
  std::optional<CheckpointTensor> decode(NodeId id);

 private:
  struct StorageView;

  std::optional<CheckpointTensor> decode_call(std::string_view function,
                                              std::span<const NodeId> arguments);
  CheckpointTensor rebuild(std::string_view function, std::span<const NodeId> arguments);
  StorageView storage_view(NodeId id);
  std::vector<int64_t> integers(NodeId id, const char* what) const;
  int64_t integer(NodeId id, const char* what) const;

  const Pickle& pickle_;
  const Checkpoint& checkpoint_;
  StorageSource& source_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TORCH_TENSOR_H_
