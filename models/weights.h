// A weights file bound to the graph: every tensor of the schema is there, has its shape and is
// fp32.
#ifndef LIGHTCAP_MODELS_WEIGHTS_H_
#define LIGHTCAP_MODELS_WEIGHTS_H_

#include <memory>
#include <string>
#include <unordered_map>

#include "engine/ops.h"
#include "engine/weights_file.h"
#include "models/config.h"

namespace lightcap {

class Weights {
 public:
  // Throws Error(kModel) with a list of all tensors that are missing or have another shape or
  // layout. f16 and bf16 tensors are widened to fp32 here, once; fp32 is used where it stands in
  // the file.
  explicit Weights(WeightsFile file);

  const WeightsFile& file() const { return file_; }
  const Config& config() const { return config_; }
  // Memory taken by widened tensors.
  size_t widened_bytes() const { return widened_bytes_; }

  // All by the names of the schema; `name` is a module's, without .weight.
  const float* floats(const std::string& name) const;
  Linear linear(const std::string& name) const;
  Conv conv(const std::string& name, size_t stride, size_t padding) const;
  LayerNorm layer_norm(const std::string& name) const;  // eps of the configuration

 private:
  struct Freed {
    void operator()(float* memory) const;
  };
  const TensorEntry& entry(const std::string& name) const;
  void check_schema() const;
  void widen();

  WeightsFile file_;
  Config config_;
  std::unique_ptr<float, Freed> widened_;
  size_t widened_bytes_ = 0;
  std::unordered_map<const TensorEntry*, const float*> widened_at_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_WEIGHTS_H_
