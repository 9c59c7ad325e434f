// Walks what a checkpoint's pickle holds and names its tensors.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TENSOR_WALK_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TENSOR_WALK_H_

#include <map>
#include <set>
#include <string>

#include "weights_converter/checkpoint/torch_tensor.h"

namespace lightcap {

// TorchScript's classes: the names of a module's parameters and buffers, as its code declares them;
// no value for classes that are no modules.
using ScriptClasses = std::map<std::string, std::optional<std::set<std::string>>, std::less<>>;

// Adds the pickle's tensors and attributes to `checkpoint`. Dictionaries, lists, tuples and plain
// objects give dotted paths; a torch.nn.Module gives what its state_dict() would. Throws
// Error(kCheckpoint) for malformed tensors and where aliases inside the pickle would make the list
// grow out of proportion to the file.
void collect_tensors(const Pickle& pickle, StorageSource& source, const ScriptClasses& classes,
                     Checkpoint& checkpoint);

}  // namespace lightcap

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_TENSOR_WALK_H_
