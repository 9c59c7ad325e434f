#include "models/concept_extractor.h"

#include <algorithm>
#include <cmath>

#include "models/preprocess.h"

namespace lightcap::internal {
namespace {

constexpr float kSmallestNorm = 1e-12f;  // torch.nn.functional.normalize's eps

void normalize_row(float* row, size_t columns) {
  double sum = 0;
  for (size_t i = 0; i < columns; ++i)
    sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
  const float scale = 1.0f / std::max(static_cast<float>(std::sqrt(sum)), kSmallestNorm);
  for (size_t i = 0; i < columns; ++i) row[i] *= scale;
}

}  // namespace

ConceptExtractor::ConceptExtractor(const Weights& weights)
    : roi_size_(weights.config().concept_extractor.roi_size),
      sampling_ratio_(weights.config().concept_extractor.sampling_ratio) {
  weights.load(*this);
}

void ConceptExtractor::forward(const Runtime& runtime, const Tensor& features, const Box* boxes,
                               size_t count, Matrix roi, Matrix similarity) const {
  const Arena::Scope scope(runtime.arena);
  const size_t samples = roi_size_ * roi_size_ * sampling_ratio_ * sampling_ratio_;
  constexpr size_t kCorners = 4;  // of each sample, whose place takes some steps too
  runtime.plan_steps(static_cast<double>(count * samples * kCorners) *
                     static_cast<double>(features.channels + kPanelWidth));
  runtime.parallel_for(count, [&](size_t i) {
    const Box box = kEncoderToFeatures.apply(boxes[i]);
    runtime.kernels.roi_align({.features = features.data,
                               .row_stride = features.row_stride,
                               .pixel_stride = features.pixel_stride,
                               .height = features.height,
                               .width = features.width,
                               .channels = features.channels,
                               .x1 = box.x1,
                               .y1 = box.y1,
                               .x2 = box.x2,
                               .y2 = box.y2,
                               .output_size = roi_size_,
                               .sampling_ratio = sampling_ratio_,
                               .output = roi.row(i)});
  });
  const Matrix hidden = runtime.arena.matrix(count, proj0_.out());
  const Matrix embedding = runtime.arena.matrix(count, proj1_.out());
  linear(runtime, proj0_, roi.first_rows(count), hidden, {.activation = Activation::kRelu});
  linear(runtime, proj1_, hidden, embedding);
  runtime.parallel_for(count,
                       [&](size_t i) { normalize_row(embedding.row(i), embedding.columns); });
  linear(runtime, vocabulary_, embedding, similarity.first_rows(count));
}

}  // namespace lightcap::internal
