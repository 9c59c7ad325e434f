// Three branches write one caption (paper, "ensemble head"). Checkpoint names: head.*.
#ifndef LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_
#define LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_

#include <cstdint>
#include <string>
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
  EnsembleHead() = default;
  explicit EnsembleHead(const Weights& weights);
  void describe(ModuleVisitor& visitor, Config& config);

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
  const float* bias_ = nullptr;  // [W]
  std::vector<Branch> branches_;
  Ensemble ensemble_ = Ensemble::kMeanProbability;
};

inline void EnsembleHead::describe(ModuleVisitor& visitor, Config& config) {
  const uint64_t d = config.fusion.width;
  const std::string list = "head.branches.";
  branches_.resize(visitor.list(list, config.head.branches));
  for (size_t i = 0; i < branches_.size(); ++i) {
    const std::string name = list + std::to_string(i) + ".";
    visitor.linear(branches_[i].dense, name + "dense", d, tells(config.fusion.width, {.rank = 1}));
    visitor.layer_norm(branches_[i].norm, name + "LayerNorm", d, config.fusion.layer_norm_eps);
  }
  visitor.values(bias_, "head.bias", {tells(config.fusion.vocabulary)});
}

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_
