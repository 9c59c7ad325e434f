// bert.embeddings.word_embeddings.weight [W, d]: the one tensor that the lookup of tokens, the
// modulator and the three branches of the head share. It stands in the weights file once, as
// panels.
#ifndef LIGHTCAP_MODELS_WORD_EMBEDDING_H_
#define LIGHTCAP_MODELS_WORD_EMBEDDING_H_

#include <cstddef>
#include <cstdint>

#include "kernels/pack.h"
#include "models/weights.h"

namespace lightcap {

struct WordEmbedding {
  const float* panels;  // [ceil(W/16)][d][16]
  size_t words, width;

  explicit WordEmbedding(const Weights& weights)
      : panels(weights.floats("bert.embeddings.word_embeddings.weight")),
        words(weights.config().fusion.vocabulary),
        width(weights.config().fusion.width) {}

  // out[width] = the row of `token`, which must be below `words`.
  void lookup(uint32_t token, float* out) const { unpack_row(panels, width, token, out); }
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_WORD_EMBEDDING_H_
