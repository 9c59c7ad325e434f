// bert.embeddings.word_embeddings.weight [W, d]: the one tensor that the lookup of tokens, the
// modulator and the three branches of the head share. It stands in the weights file once, as
// panels.
#ifndef LIGHTCAP_MODELS_WORD_EMBEDDING_H_
#define LIGHTCAP_MODELS_WORD_EMBEDDING_H_

#include <cstddef>
#include <cstdint>

#include "kernels/pack.h"
#include "models/weights.h"

namespace lightcap::internal {

struct WordEmbedding {
  PackedMatrix matrix;  // [W][d]

  WordEmbedding() = default;
  explicit WordEmbedding(const Weights& weights) { weights.load(*this); }
  // Called by Fusion, among whose tensors it lies. Random logits get a deviation of 0.15 *
  // sqrt(312) = 3.
  void describe(ModuleVisitor& visitor, Config& config) {
    visitor.matrix(matrix, "bert.embeddings.word_embeddings.weight",
                   tells(config.fusion.vocabulary), tells(config.fusion.width),
                   {.deviation = 0.15});
  }

  size_t words() const { return matrix.outputs; }
  size_t width() const { return matrix.depth; }
  // out[width] = the row of `token`, which must be below `words`. A gather of one element from each
  // of `width` cache lines.
  void lookup(uint32_t token, float* out) const { unpack_row(matrix, token, out); }
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_WORD_EMBEDDING_H_
