// Three branches write one caption (paper, "ensemble head"). Checkpoint names: head.*.
#ifndef LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_
#define LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/weights.h"
#include "models/word_embedding.h"

namespace lightcap::internal {

// A word and its log-probability.
struct ScoredToken {
  uint32_t token;
  float log_probability;
};

struct HeadOptions {
  // Only so many best words of each beam will be asked for: the other log-probabilities may be any
  // below theirs.
  size_t best = SIZE_MAX;
  // Callers of many steps in a row should alternate this: the words that one call read last are
  // those that caches still hold for the next.
  bool last_words_first = false;
};

class EnsembleHead {
 public:
  EnsembleHead() = default;
  explicit EnsembleHead(const Weights& weights);
  void describe(ModuleVisitor& visitor, Config& config);

  // log_probabilities [beams][W] = those of the ensemble for hidden [beams][d]. Branch k's logits
  // are E LayerNorm_k(gelu(dense_k h)) + bias; the embedding E is read once for all branches and
  // beams. Takes scratch of the arena.
  void forward(const Runtime& runtime, Matrix hidden, Matrix log_probabilities,
               const HeadOptions& options) const;

  // best [beams][k] = each beam's k best words, best first, among equals the lower id first. k is
  // at most kMaxTopK and W. Not written while planning.
  void best_words(const Runtime& runtime, Matrix log_probabilities, size_t k,
                  ScoredToken* best) const;

  size_t words() const { return word_embedding_.words(); }
  const WordEmbedding& word_embedding() const { return word_embedding_; }

 private:
  struct Branch {
    Linear dense;
    LayerNorm norm;
  };
  // One call's numbers. A row is a branch of a beam, a beam's branches one after the other; the
  // ensemble of mean logits has one row a beam.
  struct Scratch {
    size_t beams, branches;  // rows = beams * branches
    Matrix z;                // [rows][d], what the embedding is multiplied with
    Matrix logits;           // [rows][W]
    Matrix maximum;          // [chunks][rows], of a chunk's logits
    Matrix exp_sum;          // [chunks][rows], sum of exp(logit - maximum)
    float* log_sum_exp;      // [rows]
    float* floors;           // [beams], see HeadCombineArgs::floor
    float* bounds;           // [chunks]

    size_t rows() const { return beams * branches; }
  };
  size_t chunks() const;
  size_t chunk_words(size_t chunk) const;
  Scratch scratch(Arena& arena, size_t beams) const;
  void transform(const Runtime& runtime, Matrix hidden, Matrix z) const;
  void average_branches(const Runtime& runtime, size_t beams, Matrix z) const;
  void multiply(const Runtime& runtime, const Scratch& s, bool last_words_first) const;
  void normalize(const Scratch& s, size_t best) const;
  void combine(const Runtime& runtime, const Scratch& s, Matrix log_probabilities) const;

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

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_ENSEMBLE_HEAD_H_
