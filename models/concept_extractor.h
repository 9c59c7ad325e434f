// Regions of the image become words (paper, "visual concept extractor"): ROIAlign over the grid,
// two linear blocks, the nearest of the vocabulary's text embeddings. Checkpoint names:
// concept_extractor.*.
#ifndef LIGHTCAP_MODELS_CONCEPT_EXTRACTOR_H_
#define LIGHTCAP_MODELS_CONCEPT_EXTRACTOR_H_

#include <cstdint>

#include "engine/runtime/ops.h"
#include "models/detector.h"
#include "models/weights.h"

namespace lightcap {

class ConceptExtractor {
 public:
  explicit ConceptExtractor(const Weights& weights);

  // For each of `count` boxes in pixels of the encoder's input:
  //   roi [count][C], the mean over the bins of ROIAlign on features [G][G][C];
  //   similarity [count][N], the cosine of its embedding with every row of the vocabulary.
  void forward(const Runtime& runtime, const Tensor& features, const Box* boxes, size_t count,
               Matrix roi, Matrix similarity) const;

  size_t vocabulary_size() const { return vocabulary_.out(); }

 private:
  Linear proj0_, proj1_;
  Linear vocabulary_;  // rows of length 1, no bias
  size_t roi_size_, sampling_ratio_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_CONCEPT_EXTRACTOR_H_
