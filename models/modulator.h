// Concepts gate the channels of the grid (paper, "cross-modal modulator"). Checkpoint names:
// modulator.*.
#ifndef LIGHTCAP_MODELS_MODULATOR_H_
#define LIGHTCAP_MODELS_MODULATOR_H_

#include <cstdint>

#include "engine/runtime/ops.h"
#include "models/weights.h"
#include "models/word_embedding.h"

namespace lightcap {

class Modulator {
 public:
  explicit Modulator(const Weights& weights);

  // gate [C] = sigmoid(fc2 relu(fc1 c)), c = the mean of the concept tokens' word embeddings, 0 for
  // none. modulated = features * gate, channel by channel; it may be features.
  void forward(const Runtime& runtime, const uint32_t* concept_tokens, size_t count,
               const Tensor& features, float* gate, const Tensor& modulated) const;

  const WordEmbedding& word_embedding() const { return word_embedding_; }

 private:
  WordEmbedding word_embedding_;
  Linear fc1_, fc2_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_MODULATOR_H_
