#include "models/schema.h"

#include <cmath>

#include "models/concept_extractor.h"
#include "models/detector.h"
#include "models/ensemble_head.h"
#include "models/fusion.h"
#include "models/image_encoder.h"
#include "models/modulator.h"

namespace lightcap::internal {
namespace {

RandomInit with_gain(double gain, uint64_t inputs) {
  return {.deviation = gain / std::sqrt(static_cast<double>(inputs))};
}

class SchemaBuilder : public ModuleVisitor {
 public:
  std::vector<TensorSpec> specs;

 private:
  void tensor(const TensorSpec& spec, const std::vector<Dim>&, const Slot&) override {
    specs.push_back(spec);
  }
};

}  // namespace

void ModuleVisitor::add(TensorSpec spec, const std::vector<Dim>& dims, const Slot& slot) {
  for (const Dim& dim : dims) spec.shape.push_back(dim.value);
  tensor(spec, dims, slot);
}

std::string beside(const std::string& weight, const char* what) {
  constexpr std::string_view kWeight = ".weight";
  const bool is_module = weight.ends_with(kWeight);
  return weight.substr(0, weight.size() - (is_module ? kWeight.size() : 0)) + "." + what;
}

void ModuleVisitor::integer_matrix(PackedMatrix& matrix, const std::string& name,
                                   const std::vector<Dim>& dims, std::string_view* module) {
  add({.name = name, .shape = {}, .layout = Layout::kQuadPanels, .type = DataType::kI8}, dims,
      {.matrix = &matrix, .module = module});
  add({.name = beside(name, "scale"), .shape = {}}, {dims[0].value}, {.values = &matrix.scales});
  add({.name = beside(name, "sum"), .shape = {}, .type = DataType::kI32}, {dims[0].value},
      {.integers = &matrix.sums});
  quantized(matrix, name);
}

void ModuleVisitor::integer_conv(Conv& conv, const std::string& name, const ConvShape& shape) {
  integer_matrix(conv.weights, name + ".weight", {shape.out, shape.in, shape.kernel, shape.kernel},
                 &conv.name);
  add({.name = name + ".bias", .shape = {}, .type = DataType::kI32}, {shape.out.value},
      {.integers = &conv.quantization.bias});
  const float* numbers = nullptr;
  add({.name = name + ".quantization", .shape = {}}, {kConvQuantizationNumbers},
      {.values = &numbers});
  quantized(conv, name, numbers);
}

void ModuleVisitor::conv(Conv& conv, const std::string& name, const ConvShape& shape, double gain,
                         const std::string& batch_norm, double eps, const RandomInit& bias) {
  conv.in = shape.in.value;
  conv.kernel = shape.kernel, conv.stride = shape.stride, conv.padding = shape.padding;
  if (is_int8_) return integer_conv(conv, name, shape);
  const bool folded = !batch_norm.empty();
  add({.name = name + ".weight",
       .shape = {},
       .layout = Layout::kPanels,
       .kind = folded ? TensorKind::kConv : TensorKind::kPlain,
       .batch_norm = batch_norm,
       .batch_norm_eps = eps,
       .random = with_gain(gain, shape.in.value * shape.kernel * shape.kernel)},
      {shape.out, shape.in, shape.kernel, shape.kernel},
      {.matrix = &conv.weights, .module = &conv.name});
  add({.name = name + ".bias",
       .shape = {},
       .kind = folded ? TensorKind::kConvBias : TensorKind::kPlain,
       .batch_norm = batch_norm,
       .batch_norm_eps = eps,
       .random = bias},
      {shape.out.value}, {.values = &conv.bias});
}

void ModuleVisitor::linear(Linear& linear, const std::string& name, Dim in, Dim out, double gain) {
  if (is_int8_) {
    integer_matrix(linear.weights, name + ".weight", {out, in}, &linear.name);
  } else {
    add({.name = name + ".weight",
         .shape = {},
         .layout = Layout::kPanels,
         .random = with_gain(gain, in.value)},
        {out, in}, {.matrix = &linear.weights, .module = &linear.name});
  }
  values(linear.bias, name + ".bias", {out.value});
}

void ModuleVisitor::layer_norm(LayerNorm& norm, const std::string& name, Dim width, double eps) {
  norm.eps = static_cast<float>(eps);
  add({.name = name + ".weight", .shape = {}, .random = {.mean = 1}}, {width},
      {.values = &norm.weight, .module = &norm.name});
  values(norm.bias, name + ".bias", {width});
}

void ModuleVisitor::matrix(PackedMatrix& matrix, const std::string& name, Dim rows, Dim columns,
                           const RandomInit& random, TensorKind kind) {
  if (is_int8_) return integer_matrix(matrix, name, {rows, columns}, nullptr);
  add({.name = name, .shape = {}, .layout = Layout::kPanels, .kind = kind, .random = random},
      {rows, columns}, {.matrix = &matrix});
}

void ModuleVisitor::values(const float*& values, const std::string& name,
                           const std::vector<Dim>& dims, const RandomInit& random) {
  add({.name = name, .shape = {}, .random = random}, dims, {.values = &values});
}

void describe_model(ModuleVisitor& visitor, Config& config) {
  visitor.begin(config);
  ImageEncoder().describe(visitor, config);
  Detector().describe(visitor, config);
  ConceptExtractor().describe(visitor, config);
  Modulator().describe(visitor, config);
  Fusion().describe(visitor, config);
  EnsembleHead().describe(visitor, config);
}

std::vector<TensorSpec> schema(const Config& config) {
  SchemaBuilder builder;
  Config sizes = config;
  describe_model(builder, sizes);
  return std::move(builder.specs);
}

}  // namespace lightcap::internal
