// Weights with the graph around them.
#ifndef LIGHTCAP_MODELS_MODEL_H_
#define LIGHTCAP_MODELS_MODEL_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/wordpiece.h"
#include "models/concept_extractor.h"
#include "models/decoder.h"
#include "models/detector.h"
#include "models/ensemble_head.h"
#include "models/fusion.h"
#include "models/image_encoder.h"
#include "models/modulator.h"
#include "models/weights.h"

namespace lightcap::internal {

// Immutable: any number of sessions use it at once. Owns its file; what the accessors return lives
// as long as the model.
class Model {
 public:
  // Throws Error(kModel) where the file is not a LightCap model's.
  explicit Model(WeightsFile file);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Config& config() const { return weights_.config(); }
  const Weights& weights() const { return weights_; }

  const WordPiece& word_piece() const { return word_piece_; }
  const ImageEncoder& image_encoder() const { return image_encoder_; }
  const Detector& detector() const { return detector_; }
  const ConceptExtractor& concept_extractor() const { return concept_extractor_; }
  const Modulator& modulator() const { return modulator_; }
  const Fusion& fusion() const { return fusion_; }
  const EnsembleHead& head() const { return head_; }
  const Decoder& decoder() const { return decoder_; }

  // The label of a row of the concept vocabulary, null-terminated, and its WordPiece ids.
  std::string_view label(size_t concept_index) const { return labels_[concept_index]; }
  const std::vector<uint32_t>& label_tokens(size_t concept_index) const {
    return label_tokens_[concept_index];
  }

  // Transformed weights that sessions share; safe on several threads.
  WinogradCache& winograd_cache() const { return *winograd_cache_; }

 private:
  const Weights weights_;  // first: the others are made from it
  const WordPiece word_piece_;
  const ImageEncoder image_encoder_;
  const Detector detector_;
  const ConceptExtractor concept_extractor_;
  const Modulator modulator_;
  const Fusion fusion_;
  const EnsembleHead head_;
  const Decoder decoder_;
  const std::unique_ptr<WinogradCache> winograd_cache_;
  std::vector<std::string> labels_;
  std::vector<std::vector<uint32_t>> label_tokens_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_MODEL_H_
