// Walks what a checkpoint's pickle holds and names its tensors.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TENSOR_WALK_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TENSOR_WALK_H_

#include <map>
#include <set>
#include <string>

#include "weights_converter/checkpoint/torch_tensor.h"

namespace lightcap::internal {

// The declarations of a TorchScript class, read off its code.
struct ScriptClass {
  bool is_module = false;
  // Before PyTorch 1.5 only parameters were declared, and every other tensor was a buffer.
  bool declares_buffers = false;
  std::set<std::string, std::less<>> tensors;  // names of parameters and buffers
};
using ScriptClasses = std::map<std::string, ScriptClass, std::less<>>;

// Adds the pickle's tensors and attributes to `checkpoint`. Dictionaries, lists, tuples and plain
// objects give dotted paths; a torch.nn.Module gives what its state_dict() would. Throws
// Error(kCheckpoint) for malformed tensors, and where aliases inside the pickle ask for more than
// `budget` has.
void collect_tensors(const Pickle& pickle, StorageSource& source, const ScriptClasses& classes,
                     Budget& budget, Checkpoint& checkpoint);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TENSOR_WALK_H_
