// The tensors of a model. Each block names its modules once, in `describe`, and everybody who has
// to know them is a visitor: the list of all tensors below, the loader (models/weights.h) and the
// converter, which reads a checkpoint's sizes off their shapes (weights_converter/infer.cc).
#ifndef LIGHTCAP_MODELS_SCHEMA_H_
#define LIGHTCAP_MODELS_SCHEMA_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/weights_format.h"
#include "engine/runtime/ops.h"
#include "models/config.h"

namespace lightcap::internal {

// The source of a tensor of the weights file.
enum class TensorKind : uint8_t {
  kPlain,     // the checkpoint's tensor of this name
  kConv,      // `X.weight` scaled by its BatchNorm
  kConvBias,  // `X.bias`, made from the BatchNorm alone: convolutions under BatchNorm have none
  kUnitRows,  // the checkpoint's matrix with rows scaled to length 1
};

// The distribution of random weights, where no checkpoint has any: they are spread evenly around
// the mean, and keep activations of order 1 through the graph.
struct RandomInit {
  double mean = 0;
  double deviation = 0.1;
  void (*change)(std::span<float> values) = nullptr;  // what else is done to them
};

struct TensorSpec {
  std::string name;  // as in a checkpoint with all prefixes: image_encoder.layer1.0.conv1.weight
  std::vector<uint64_t> shape;  // as in the checkpoint
  Layout layout = Layout::kRowMajor;
  DataType type = DataType::kF32;  // kF32 where any type of floats will do
  TensorKind kind = TensorKind::kPlain;
  std::string batch_norm = {};  // for kConv and kConvBias: the BatchNorm's name, without .weight
  double batch_norm_eps = 0;
  RandomInit random = {};
};

// A tensor's dimension: a number, or one that `tells` a size of the configuration.
struct Dim {
  uint64_t value;
  uint64_t* size = nullptr;  // value = factor * (*size + plus) / divisor; null for a number
  uint64_t factor = 1, plus = 0, divisor = 1;
  int rank = 0;

  Dim(uint64_t number) : value(number) {}
};

struct Telling {
  uint64_t factor = 1, plus = 0, divisor = 1;
  // If several dimensions tell a size, the first of the lowest rank that a checkpoint has counts.
  int rank = 0;
};

// The dimension factor * (size + plus) / divisor, off which the converter reads `size`.
inline Dim tells(uint64_t& size, const Telling& how = {}) {
  Dim dim(how.factor * (size + how.plus) / how.divisor);
  dim.size = &size;
  dim.factor = how.factor, dim.plus = how.plus, dim.divisor = how.divisor, dim.rank = how.rank;
  return dim;
}

struct ConvShape {
  Dim in, out;
  size_t kernel = 1, stride = 1, padding = 0;
};

// A block calls these for each of its modules, in the order of the file. Sizes are told by weights,
// not by biases. `gain` is the factor on 1/sqrt(inputs) with which random weights keep what follows
// the product of order 1.
class ModuleVisitor {
 public:
  ModuleVisitor() = default;
  ModuleVisitor(const ModuleVisitor&) = delete;
  ModuleVisitor& operator=(const ModuleVisitor&) = delete;
  virtual ~ModuleVisitor() = default;

  // Says what kind of model the blocks are to describe; called before they do.
  void begin(const Config& config) { is_int8_ = config.is_int8(); }

  // In an int8 model a convolution X has X.weight (int8), X.scale and X.sum [out], X.bias [out]
  // (int32) and X.quantization [6], the numbers of ConvQuantization (engine/runtime/ops.h) in the
  // order input zero, output scale, output zero, residual scale, residual zero, SiLU factor; a
  // linear layer has X.weight (int8), X.scale, X.sum and X.bias (fp32); a matrix that stands alone
  // has .scale and .sum beside it. docs/int8.md says what they mean.

  // With `name`.bias of its own, or under a BatchNorm that the converter folds into it; `eps` is
  // the BatchNorm's where a checkpoint does not say.
  void conv(Conv& conv, const std::string& name, const ConvShape& shape, double gain,
            const std::string& batch_norm = "", double eps = 0, const RandomInit& bias = {});
  void linear(Linear& linear, const std::string& name, Dim in, Dim out, double gain = 1);
  void layer_norm(LayerNorm& norm, const std::string& name, Dim width, double eps);
  // A tensor in panels, by its whole name.
  void matrix(PackedMatrix& matrix, const std::string& name, Dim rows, Dim columns,
              const RandomInit& random, TensorKind kind = TensorKind::kPlain);
  // A row-major tensor, by its whole name.
  void values(const float*& values, const std::string& name, const std::vector<Dim>& dims,
              const RandomInit& random = {});

  // How many of the modules `prefix`0, `prefix`1 ... are to be described; `count` is how many the
  // model has. All are alike: to read sizes, the converter asks for the first.
  virtual size_t list(const std::string& /*prefix*/, uint64_t& count) { return count; }
  // Returns true if the tensor `name`, which not every model has, is to be described.
  virtual bool optional(const std::string& /*name*/, bool& there) { return there; }

 protected:
  // The view loaded from a tensor: one of the first three, and its module's name.
  struct Slot {
    PackedMatrix* matrix = nullptr;
    const float** values = nullptr;
    const int32_t** integers = nullptr;
    std::string_view* module = nullptr;
  };
  virtual void tensor(const TensorSpec& spec, const std::vector<Dim>& dims, const Slot& slot) = 0;
  // Called when all tensors of an int8 layer have been; `numbers` are X.quantization.
  virtual void quantized(Conv& /*conv*/, const std::string& /*name*/, const float* /*numbers*/) {}
  virtual void quantized(PackedMatrix& /*matrix*/, const std::string& /*name*/) {}

 private:
  void add(TensorSpec spec, const std::vector<Dim>& dims, const Slot& slot);
  void integer_conv(Conv& conv, const std::string& name, const ConvShape& shape);
  void integer_matrix(PackedMatrix& matrix, const std::string& name, const std::vector<Dim>& dims,
                      std::string_view* module);

  bool is_int8_ = false;
};

// The name of a tensor beside `weight`, an int8 matrix: X.scale of X.weight.
std::string beside(const std::string& weight, const char* what);

inline constexpr size_t kConvQuantizationNumbers = 6;

// All blocks, in the order of the graph, which is also the order in the file.
void describe_model(ModuleVisitor& visitor, Config& config);

// All tensors of a model with these sizes, in that order.
std::vector<TensorSpec> schema(const Config& config);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_SCHEMA_H_
