// Names of a model's tensors as PyTorch's tools change them, and the plain names behind them.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MODULE_NAMES_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MODULE_NAMES_H_

#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "weights_converter/checkpoint/checkpoint.h"

namespace lightcap::internal {

// A tensor under the name that the model's own code gives it.
struct NamedTensor {
  std::string name;
  const CheckpointTensor* tensor;
};

// Takes off the parts of names that wrappers of modules put in: torch.compile, FSDP, activation
// checkpointing, and data parallelism's `module`, which stays where the file also has the same name
// without it.
class Unwrapper {
 public:
  explicit Unwrapper(const Checkpoint& checkpoint);
  std::string operator()(std::string_view name) const;

 private:
  bool data_parallel_;
};

// All tensors of a checkpoint under their plain names. Tensors that the file does not hold as such
// are there as well, with a refusal that says what was done to them and how to undo it: those that
// weight_norm or another parametrization, pruning or dynamic quantisation took apart, and NumPy
// arrays. Those are made in `stand_ins`, which has to live as long as the result.
std::vector<NamedTensor> plain_names(const Checkpoint& checkpoint, const Unwrapper& unwrap,
                                     std::list<CheckpointTensor>& stand_ins);

// The part of `name` that corresponds to `root`, a plain prefix with its dot or empty, as the file
// spells it: "module.bert" for "module.bert.x" and "bert.".
std::string original_root(std::string_view name, std::string_view root);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_MODULE_NAMES_H_
