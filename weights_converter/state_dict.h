// Finds, in whatever a checkpoint holds, the tensors that a part of the model wants, and names them
// as the model's schema (models/schema.h) does.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_STATE_DICT_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_STATE_DICT_H_

#include <list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "weights_converter/checkpoint/checkpoint.h"

namespace lightcap::internal {

// The part that the user says a file holds: --image-encoder, --detector, --bert, --lightcap.
enum class Role { kImageEncoder, kDetector, kBert, kLightcap };

const char* role_option(Role role);  // "--image-encoder" ...

struct StateDict {
  // By the schema's name: `image_encoder.layer1.0.conv1.weight`, `detector.model.0.conv.weight`,
  // `detector.model.0.bn.running_var`, `bert.encoder.layer.0.output.LayerNorm.weight`,
  // `concept_extractor.proj.0.weight` ... Tensors that the model has no use for (attention pooler,
  // text tower, optimizer, `num_batches_tracked`, task heads) are left out. They point into the
  // Checkpoint, which has to outlive this.
  std::map<std::string, const CheckpointTensor*> tensors;
  // Tensors that the file holds in another form, with a refusal that says in which and what to do;
  // `tensors` points to them where the model would have to be made of them. See module_names.h.
  std::list<CheckpointTensor> stand_ins;
  // By the BatchNorm's schema name (`detector.model.0.bn`), where the file says it: whole pickled
  // modules do, state dicts don't.
  std::map<std::string, double> batch_norm_eps;
  // An attribute of a detector that was pickled whole, else empty.
  std::vector<double> strides;
  // The path in the file at which they were found, for messages: "" (its root), "ema",
  // "state_dict.module".
  std::string found_at;
  // Other paths in the file at which the same part is and could have been taken from.
  std::vector<std::string> others;
};

// The choice among a file's copies, and the roles that the user has named already.
struct StateDictQuery {
  Role role;
  // Only what is at this path in the file, or below it; "." for what is at its top alone, empty for
  // all.
  std::string inside;
  // Roles that have a file, for hints.
  std::set<Role> given;
};

// Throws Error(kCheckpoint) where nothing in the file looks like that part of the model, and says
// what the file looks like instead; where the file holds several copies without one that was
// averaged over training, which is taken first; and for a detector whose head is not YOLOv5's. Does
// not check that tensors are complete: that is for who merges several files.
StateDict find_state_dict(const Checkpoint& checkpoint, const StateDictQuery& query);
inline StateDict find_state_dict(const Checkpoint& checkpoint, Role role) {
  return find_state_dict(checkpoint, StateDictQuery{role, {}, {}});
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_STATE_DICT_H_
