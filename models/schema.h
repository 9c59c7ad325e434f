// The one list of a model's tensors: the converter makes them, the loader demands them, the
// inspector shows them, tests compare them.
#ifndef LIGHTCAP_MODELS_SCHEMA_H_
#define LIGHTCAP_MODELS_SCHEMA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/io/weights_format.h"
#include "models/config.h"

namespace lightcap {

// Where a tensor of the weights file comes from.
enum class TensorKind : uint8_t {
  kPlain,     // the checkpoint's tensor of this name
  kConv,      // `X.weight` scaled by its BatchNorm
  kConvBias,  // `X.bias`, made from the BatchNorm alone: convolutions under BatchNorm have none
  kUnitRows,  // the checkpoint's matrix with rows scaled to length 1
};

struct TensorSpec {
  std::string name;  // as in a checkpoint with all prefixes: image_encoder.layer1.0.conv1.weight
  std::vector<uint64_t> shape;  // as in the checkpoint
  Layout layout = Layout::kRowMajor;
  TensorKind kind = TensorKind::kPlain;
  std::string batch_norm;  // for kConv and kConvBias: the BatchNorm's name, without .weight
  double batch_norm_eps = 0;
};

// All tensors of a model with these sizes, in the order of the graph, which is also the order in
// the file.
std::vector<TensorSpec> schema(const Config& config);

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_SCHEMA_H_
