// A weights file bound to the graph: every tensor of the schema is there and has its shape.
#ifndef LIGHTCAP_MODELS_WEIGHTS_H_
#define LIGHTCAP_MODELS_WEIGHTS_H_

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/io/weights_file.h"
#include "engine/runtime/block.h"
#include "engine/runtime/ops.h"
#include "models/config.h"
#include "models/schema.h"

namespace lightcap::internal {

class Weights {
 public:
  // Throws Error(kModel) with a list of all tensors that are missing or have another shape or
  // layout. Panels are multiplied as they lie in the file, whatever their type; row-major tensors
  // (biases, norms, positions) of f16 and bf16 are widened to fp32 here, once.
  explicit Weights(WeightsFile file);
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  const WeightsFile& file() const { return file_; }
  const Config& config() const { return config_; }
  // Memory that the weights take: the file and widened tensors.
  size_t bytes() const;
  // Numbers in all tensors.
  size_t values() const;

  // Fills what the block's `describe` names.
  template <class Block>
  void load(Block& block) const {
    Loader loader(*this);
    Config config = config_;
    loader.begin(config);
    block.describe(loader, config);
  }

  // By the names of the schema. A row-major tensor as fp32.
  const float* floats(const std::string& name) const;
  // A row-major tensor of int32.
  const int32_t* integers(const std::string& name) const;
  // A tensor in panels: its first dimension is the outputs, the product of the others the depth.
  // Without the scales and sums that stand beside int8 weights.
  PackedMatrix packed(const std::string& name) const;

 private:
  class Loader : public ModuleVisitor {
   public:
    explicit Loader(const Weights& weights) : weights_(weights) {}

   private:
    void tensor(const TensorSpec& spec, const std::vector<Dim>& dims, const Slot& slot) override;
    void quantized(Conv& conv, const std::string& name, const float* numbers) override;
    void quantized(PackedMatrix& matrix, const std::string& name) override;

    const Weights& weights_;
  };
  const TensorEntry& entry(const std::string& name) const;
  void check_schema() const;
  void widen();

  WeightsFile file_;
  Config config_;
  Block widened_;
  size_t widened_bytes_ = 0;
  std::unordered_map<const TensorEntry*, const float*> widened_at_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_WEIGHTS_H_
