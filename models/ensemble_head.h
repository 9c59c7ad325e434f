// Three branches write one caption (paper, "ensemble head"). Checkpoint names: head.*.
#ifndef LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_
#define LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_

#include <cstdint>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/weights.h"
#include "models/word_embedding.h"

namespace lightcap {

// A word and its log-probability.
struct ScoredToken {
  uint32_t token;
  float log_probability;
};

struct HeadOptions {
  // Of each beam only so many best words will be asked for: the other log-probabilities may be any
  // below theirs.
  size_t best = SIZE_MAX;
  // Whoever calls the head again and again should alternate this: the words that one call read last
  // are those that caches still hold for the next.
  bool last_words_first = false;
};

class EnsembleHead {
 public:
  explicit EnsembleHead(const Weights& weights);

  // hidden [beams][d] -> log_probabilities [beams][W] of the ensemble. The embedding is read once
  // for all branches and beams. Logits of branch k are E LayerNorm_k(gelu(dense_k h)) + bias.
  void forward(const Runtime& runtime, Matrix hidden, Matrix log_probabilities,
               const HeadOptions& options) const;

  // For each beam the k best words, best first, of equal ones the lower id; best [beams][k]. k is
  // at most kMaxTopK and W.
  void best_words(const Runtime& runtime, Matrix log_probabilities, size_t k,
                  ScoredToken* best) const;

  size_t words() const { return word_embedding_.words(); }
  const WordEmbedding& word_embedding() const { return word_embedding_; }

 private:
  struct Branch {
    Linear dense;
    LayerNorm norm;
  };
  size_t chunks() const;

  WordEmbedding word_embedding_;
  const float* bias_;  // [W]
  std::vector<Branch> branches_;
  Ensemble ensemble_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_
