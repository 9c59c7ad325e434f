// TinyBERT over concepts, image and caption (paper, "cross-modal fusion"). The sequence is
//   concept tokens [SEP] | visual tokens | caption tokens
// where the first two, the prefix, see only each other, so that their keys and values are computed
// once an image, and caption token i sees the prefix and the caption up to i. Checkpoint names:
// visual_projection.*, bert.*.
#ifndef LIGHTCAP_MODELS_FUSION_H_
#define LIGHTCAP_MODELS_FUSION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/kv_cache.h"
#include "models/weights.h"
#include "models/word_embedding.h"

namespace lightcap::internal {

class Fusion {
 public:
  Fusion() = default;
  explicit Fusion(const Weights& weights);
  void describe(ModuleVisitor& visitor, Config& config);

  // One image's caches, in the arena of its session.
  struct State {
    size_t prefix_tokens = 0;           // of the image; its slots of `prefix` are filled
    std::vector<KeyValueCache> prefix;  // [layers]
    CaptionCaches captions;
  };
  // Takes memory of the arena for captions of so many beams; calling it again for the same `beams`
  // reuses the vectors.
  void allocate(Arena& arena, size_t beams, State& state) const;

  size_t max_prefix_tokens() const { return max_concept_tokens_ + visual_tokens_; }

  // prefix [count + G*G][d] = the embeddings that enter layer 0, of `count` tokens (concepts and
  // [SEP]), at most max_concept_tokens, and of modulated features [G][G][C].
  void embed_prefix(const Runtime& runtime, const uint32_t* tokens, size_t count,
                    const Tensor& modulated, Matrix prefix) const;
  // Runs the layers over the prefix, which becomes the last but one layer's output, and keeps their
  // keys and values in `state`.
  void run_prefix(const Runtime& runtime, Matrix prefix, State& state) const;

  // One decoding step of `beams` captions at slot t >= 1. rows_per_beam is 2 for decode = mask:
  // token y in slot t-1, [MASK] in slot t; 1 for causal: y in slot t-1 alone. `tokens`
  // [beams][rows_per_beam]; they are not read while planning. hidden [beams][d] = the output of
  // each beam's last row. Slot t-1 joins the cache.
  void step(const Runtime& runtime, State& state, const uint32_t* tokens, size_t beams,
            size_t rows_per_beam, size_t t, Matrix hidden) const;

  const WordEmbedding& word_embedding() const { return word_embedding_; }

 private:
  struct Layer {
    Linear query, key, value, attention_output, intermediate, output;
    LayerNorm attention_norm, output_norm;
  };
  // A step's captions: `beams` of `rows` rows, the first of them in slot t-1.
  struct Step {
    size_t beams, rows, t;
  };
  class Scores;

  void embed(uint32_t token, size_t position, size_t token_type, float* out) const;
  void attend_prefix(const Runtime& runtime, const Layer& layer, const KeyValueCache& cache,
                     const Scores& scores, Matrix query, Matrix context) const;
  void attend_captions(const Runtime& runtime, size_t layer, const Step& step, const State& state,
                       const Scores& scores, Matrix query, Matrix context) const;
  void attend_head(const Runtime& runtime, size_t head, Matrix query, Matrix context,
                   const KeyValues& prefix, const KeyValues& caption, size_t causal, float* scores,
                   size_t scores_stride) const;
  void finish_layer(const Runtime& runtime, const Layer& layer, Matrix context, Matrix x) const;

  WordEmbedding word_embedding_;
  const float* positions_ = nullptr;    // [positions][d]
  const float* token_types_ = nullptr;  // [token_types][d]
  LayerNorm embedding_norm_;
  Linear visual_dense_;
  LayerNorm visual_norm_;
  const float* grid_position_ = nullptr;  // [G*G][d] or null
  std::vector<Layer> layers_;
  size_t d_ = 0, heads_ = 0, head_size_ = 0;
  size_t max_concept_tokens_ = 0, visual_tokens_ = 0, caption_slots_ = 0;
};

inline void Fusion::describe(ModuleVisitor& visitor, Config& config) {
  auto& sizes = config.fusion;
  const uint64_t d = sizes.width;
  const double eps = sizes.layer_norm_eps;
  const std::string visual = "visual_projection.", embeddings = "bert.embeddings.";
  const RandomInit as_words = {.deviation = 0.15};
  visitor.linear(visual_dense_, visual + "dense",
                 tells(config.image_encoder.width, {.factor = 32, .rank = 1}),
                 tells(sizes.width, {.rank = 1}));
  visitor.layer_norm(visual_norm_, visual + "LayerNorm", d, eps);
  const uint64_t grid = config.image_encoder.grid();
  if (visitor.optional(visual + "position", sizes.grid_position))
    visitor.values(grid_position_, visual + "position", {grid * grid, d});
  word_embedding_.describe(visitor, config);
  visitor.values(positions_, embeddings + "position_embeddings.weight", {tells(sizes.positions), d},
                 as_words);
  visitor.values(token_types_, embeddings + "token_type_embeddings.weight",
                 {tells(sizes.token_types), d}, as_words);
  visitor.layer_norm(embedding_norm_, embeddings + "LayerNorm", d, eps);
  const std::string list = "bert.encoder.layer.";
  layers_.resize(visitor.list(list, sizes.layers));
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const std::string name = list + std::to_string(i) + ".";
    const Dim feed_forward = tells(sizes.feed_forward);
    visitor.linear(layer.query, name + "attention.self.query", d, tells(sizes.width));
    visitor.linear(layer.key, name + "attention.self.key", d, d);
    visitor.linear(layer.value, name + "attention.self.value", d, d);
    visitor.linear(layer.attention_output, name + "attention.output.dense", d, d);
    visitor.layer_norm(layer.attention_norm, name + "attention.output.LayerNorm", d, eps);
    visitor.linear(layer.intermediate, name + "intermediate.dense", d, feed_forward);
    visitor.linear(layer.output, name + "output.dense", feed_forward, d);
    visitor.layer_norm(layer.output_norm, name + "output.LayerNorm", d, eps);
  }
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_FUSION_H_
