// Finds, in whatever a checkpoint holds, the tensors that a part of the model wants, and names them
// as the model's schema (models/schema.h) does.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_STATE_DICT_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_STATE_DICT_H_

#include <map>
#include <string>
#include <vector>

#include "weights_converter/checkpoint/checkpoint.h"

namespace lightcap {

// What the user says that a file is: --image-encoder, --detector, --bert, --lightcap.
enum class Role { kImageEncoder, kDetector, kBert, kLightcap };

const char* role_option(Role role);  // "--image-encoder" ...

struct StateDict {
  // By the schema's name: `image_encoder.layer1.0.conv1.weight`, `detector.model.0.conv.weight`,
  // `detector.model.0.bn.running_var`, `bert.encoder.layer.0.output.LayerNorm.weight`,
  // `concept_extractor.proj.0.weight` ... Tensors that the model has no use for (attention pooler,
  // text tower, optimizer, `num_batches_tracked`, task heads) are left out. They point into the
  // Checkpoint, which has to outlive this.
  std::map<std::string, const CheckpointTensor*> tensors;
  // By the BatchNorm's schema name (`detector.model.0.bn`), where the file says it: whole pickled
  // modules do, state dicts don't.
  std::map<std::string, double> batch_norm_eps;
  // Of a detector pickled whole, else empty.
  std::vector<std::string> class_names;
  std::vector<double> strides;
  // Where in the file they were found, for messages: "" (its root), "ema", "state_dict.module".
  std::string found_at;
};

// Throws Error(kCheckpoint) where nothing in the file looks like that part of the model, and says
// what the file looks like instead. Does not check that tensors are complete: that is for who
// merges several files.
StateDict find_state_dict(const Checkpoint& checkpoint, Role role);

// What the tensors' names look like, for messages: "a YOLOv5 detector (Ultralytics)", "BERT" ...
std::string guess_contents(const Checkpoint& checkpoint);

}  // namespace lightcap

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_STATE_DICT_H_
