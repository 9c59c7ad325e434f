// TinyBERT over concepts, image and caption (paper, "cross-modal fusion"). The sequence is
//   concept tokens [SEP] | visual tokens | caption tokens
// where the first two, the prefix, see only each other, so that their keys and values are computed
// once an image, and caption token i sees the prefix and the caption up to i. Checkpoint names:
// visual_projection.*, bert.*.
#ifndef LIGHTCAP_MODELS_FUSION_H_
#define LIGHTCAP_MODELS_FUSION_H_

#include <cstdint>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/weights.h"
#include "models/word_embedding.h"

namespace lightcap {

// Keys and values of one layer. Keys are transposed per head, [heads][head_size][key_stride], as
// the attention kernel wants them; values are [tokens][d].
struct LayerCache {
  float* keys = nullptr;
  size_t key_stride = 0;
  Matrix values;
};

class Fusion {
 public:
  explicit Fusion(const Weights& weights);

  // One image's caches. Prefix: [layers]. Captions: [beams][layers], in two sets, so that beams can
  // be reordered by copying from one to the other.
  struct State {
    size_t prefix_tokens = 0;
    std::vector<LayerCache> prefix;
    std::vector<std::vector<LayerCache>> captions, spare_captions;
  };
  // Allocates from the arena; calling it again for the same `beams` reuses the vectors.
  void allocate(Arena& arena, size_t beams, State& state) const;

  size_t max_prefix_tokens() const { return max_concept_tokens_ + visual_tokens_; }

  // prefix [count + G*G][d], the embeddings that enter layer 0, from `count` tokens (concepts and
  // [SEP]) and modulated features [G][G][C].
  void embed_prefix(const Runtime& runtime, const uint32_t* tokens, size_t count,
                    const Tensor& modulated, Matrix prefix) const;
  // Runs the layers over the prefix and keeps their keys and values. Overwrites prefix.
  void run_prefix(const Runtime& runtime, Matrix prefix, State& state) const;

  // One decoding step of `beams` captions at slot t >= 1. rows_per_beam is 2 for decode = mask:
  // token y in slot t-1, [MASK] in slot t; 1 for causal: y in slot t-1 alone. `tokens`
  // [beams][rows_per_beam]. hidden [beams][d]: the output of each beam's last row. Slot t-1 joins
  // the cache.
  void step(const Runtime& runtime, State& state, const uint32_t* tokens, size_t beams,
            size_t rows_per_beam, size_t t, Matrix hidden) const;
  // Beam i goes on from what was beam parents[i], for slots below `slots`.
  void reorder(const Runtime& runtime, State& state, const uint32_t* parents, size_t beams,
               size_t slots) const;

  const WordEmbedding& word_embedding() const { return word_embedding_; }

 private:
  struct Layer {
    Linear query, key, value, attention_output, intermediate, output;
    LayerNorm attention_norm, output_norm;
  };
  void embed(uint32_t token, size_t position, size_t token_type, float* out) const;
  // x = LayerNorm(x + attention_output(context)); x = LayerNorm(x + output(gelu(intermediate(x)))).
  void finish_layer(const Runtime& runtime, const Layer& layer, Matrix context, Matrix x) const;
  LayerCache layer_cache(Arena& arena, size_t tokens) const;
  void store_keys(Matrix keys, size_t slot, const LayerCache& cache) const;
  KeyValues head_of(const LayerCache& cache, size_t head, size_t count) const;

  WordEmbedding word_embedding_;
  const float* positions_;    // [positions][d]
  const float* token_types_;  // [token_types][d]
  LayerNorm embedding_norm_;
  Linear visual_dense_;
  LayerNorm visual_norm_;
  const float* grid_position_ = nullptr;  // [G*G][d] or null
  std::vector<Layer> layers_;
  size_t d_, heads_, head_size_, max_concept_tokens_, visual_tokens_, caption_slots_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_FUSION_H_
