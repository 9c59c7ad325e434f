// Regions of the image become words (paper, "visual concept extractor"): ROIAlign over the grid,
// two linear blocks, the nearest of the vocabulary's text embeddings. Checkpoint names:
// concept_extractor.*.
#ifndef LIGHTCAP_MODELS_CONCEPT_EXTRACTOR_H_
#define LIGHTCAP_MODELS_CONCEPT_EXTRACTOR_H_

#include <cmath>
#include <cstdint>
#include <string>

#include "engine/runtime/ops.h"
#include "models/coordinates.h"
#include "models/weights.h"

namespace lightcap::internal {

class ConceptExtractor {
 public:
  ConceptExtractor() = default;
  explicit ConceptExtractor(const Weights& weights);
  void describe(ModuleVisitor& visitor, Config& config);

  // For each of `count` boxes in pixels of the encoder's input:
  //   roi [count][C], the mean over the bins of ROIAlign on features [G][G][C];
  //   similarity [count][N], the cosine of its embedding with every row of the vocabulary.
  void forward(const Runtime& runtime, const Tensor& features, const Box* boxes, size_t count,
               Matrix roi, Matrix similarity) const;

  size_t vocabulary_size() const { return vocabulary_.out(); }

 private:
  Linear proj0_, proj1_;
  Linear vocabulary_;  // rows of length 1, no bias
  size_t roi_size_ = 0, sampling_ratio_ = 0;
};

inline void ConceptExtractor::describe(ModuleVisitor& visitor, Config& config) {
  const std::string root = "concept_extractor.";
  auto& sizes = config.concept_extractor;
  const Dim channels = tells(config.image_encoder.width, {.factor = 32, .rank = 1});
  visitor.linear(proj0_, root + "proj.0", channels, tells(sizes.hidden), std::sqrt(2.0));
  visitor.linear(proj1_, root + "proj.1", tells(sizes.hidden), tells(sizes.embedding));
  visitor.matrix(vocabulary_.weights, root + "vocabulary", tells(sizes.vocabulary),
                 tells(sizes.embedding), {.deviation = 1}, TensorKind::kUnitRows);
  vocabulary_.name = "concept_extractor.vocabulary";
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_CONCEPT_EXTRACTOR_H_
