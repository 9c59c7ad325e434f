// Concepts gate the channels of the grid (paper, "cross-modal modulator"). Checkpoint names:
// modulator.*.
#ifndef LIGHTCAP_MODELS_MODULATOR_H_
#define LIGHTCAP_MODELS_MODULATOR_H_

#include <cstdint>

#include "engine/runtime/ops.h"
#include "models/weights.h"
#include "models/word_embedding.h"

namespace lightcap::internal {

class Modulator {
 public:
  Modulator() = default;
  explicit Modulator(const Weights& weights) : word_embedding_(weights) { weights.load(*this); }
  void describe(ModuleVisitor& visitor, Config& config);

  // gate [C] = sigmoid(fc2 relu(fc1 c)), c = the mean of the concept tokens' word embeddings, 0 for
  // none. modulated = features * gate, channel by channel; it may be features.
  void forward(const Runtime& runtime, const uint32_t* concept_tokens, size_t count,
               const Tensor& features, float* gate, const Tensor& modulated) const;

  const WordEmbedding& word_embedding() const { return word_embedding_; }

 private:
  WordEmbedding word_embedding_;
  Linear fc1_, fc2_;
};

inline void Modulator::describe(ModuleVisitor& visitor, Config& config) {
  const Dim channels = tells(config.image_encoder.width, {.factor = 32, .rank = 2});
  const Dim width = tells(config.modulator.width);
  visitor.linear(fc1_, "modulator.fc1", config.fusion.width, width);
  visitor.linear(fc2_, "modulator.fc2", width, channels);
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_MODULATOR_H_
