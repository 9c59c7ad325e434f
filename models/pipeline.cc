#include "models/pipeline.h"

#include <algorithm>
#include <cmath>

#include "engine/runtime/error.h"

namespace lightcap::internal {

Pipeline::Pipeline(const Model& model) : model_(model) {
  const Config& config = model.config();
  boxes_.reserve(config.detector.max_proposals);
  encoder_boxes_.reserve(config.detector.max_proposals);
  concepts_.reserve(config.detector.max_proposals);
  tokens_.reserve(config.fusion.max_concept_tokens);
}

void Pipeline::allocate(Arena& arena, size_t beams) {
  const Config& config = model_.config();
  const size_t grid = config.image_encoder.grid();
  const size_t channels = config.image_encoder.channels();
  for (size_t scale = 0; scale < Detector::kScales; ++scale) {
    const size_t side = config.detector.image_size / Detector::stride(scale);
    raw_memory_[scale] =
        arena.floats(dense_tensor_elements(side, side, model_.detector().outputs_per_cell()));
  }
  features_ = arena.tensor(grid, grid, channels);
  modulated_ = arena.tensor(grid, grid, channels);
  roi_features_ = arena.matrix(config.detector.max_proposals, channels);
  similarity_ = arena.matrix(config.detector.max_proposals, config.concept_extractor.vocabulary);
  gate_ = arena.floats(channels);
  prefix_ = arena.matrix(model_.fusion().max_prefix_tokens(), config.fusion.width);
  model_.fusion().allocate(arena, beams, fusion_state_);
}

void Pipeline::plan(const Runtime& runtime, const NetworkInputs& inputs) {
  detect(runtime, inputs);
  encode_image(runtime, inputs);
  boxes_.resize(model_.config().detector.max_proposals);
  find_concepts(runtime, inputs);
  tokens_.resize(model_.config().fusion.max_concept_tokens);
  embed_tokens(runtime);
  run_prefix(runtime);
}

void Pipeline::detect(const Runtime& runtime, const NetworkInputs& inputs) {
  const PictureGeometry& geometry = inputs.geometry();
  const Detector& detector = model_.detector();
  for (size_t scale = 0; scale < Detector::kScales; ++scale) {
    const size_t stride = Detector::stride(scale);
    raw_[scale] = dense_tensor(raw_memory_[scale], geometry.detector.height / stride,
                               geometry.detector.width / stride, detector.outputs_per_cell());
  }
  if (model_.config().is_int8()) {
    detector.forward(runtime, inputs.detector<uint8_t>(), raw_);
  } else {
    detector.forward(runtime, inputs.detector<float>(), raw_);
  }
  boxes_.resize(model_.config().detector.max_proposals);
  boxes_.resize(detector.propose(runtime, raw_, boxes_.data()));
  for (Box& box : boxes_) box = geometry.from_detector(box);
  if (boxes_.empty()) boxes_.push_back(geometry.whole());  // there is room for one at least
}

void Pipeline::encode_image(const Runtime& runtime, const NetworkInputs& inputs) {
  if (model_.config().is_int8()) {
    model_.image_encoder().forward(runtime, inputs.encoder<uint8_t>(), features_);
  } else {
    model_.image_encoder().forward(runtime, inputs.encoder<float>(), features_);
  }
}

void Pipeline::find_concepts(const Runtime& runtime, const NetworkInputs& inputs) {
  encoder_boxes_.clear();
  for (const Box& box : boxes_) encoder_boxes_.push_back(inputs.geometry().to_encoder(box));
  model_.concept_extractor().forward(runtime, features_, encoder_boxes_.data(), boxes_.size(),
                                     roi_features_, similarity_);
  runtime.serial([&] { choose_concepts(); });
}

void Pipeline::choose_concepts() {
  concepts_.clear();
  for (size_t i = 0; i < boxes_.size(); ++i) {
    const float* row = similarity_.row(i);
    if (!std::all_of(row, row + similarity_.columns, [](float x) { return std::isfinite(x); })) {
      throw Error(ErrorCode::kModel,
                  "the similarities of concepts are not finite: the model's weights are damaged, "
                  "or not trained");
    }
    const float* best = std::max_element(row, row + similarity_.columns);
    const Box& box = boxes_[i];
    concepts_.push_back(
        {static_cast<uint32_t>(best - row), *best, box.score, {box.x1, box.y1, box.x2, box.y2}});
  }
}

// The tokens of the concepts' labels, each label once where the model says so, as many as there is
// room for before [SEP].
void Pipeline::choose_tokens() {
  const size_t most = model_.config().fusion.max_concept_tokens - 1;
  const bool deduplicate = model_.config().concept_extractor.deduplicate;
  tokens_.clear();
  for (auto at = concepts_.begin(); at != concepts_.end(); ++at) {
    const bool is_repeated = std::any_of(concepts_.begin(), at, [&](const Concept& earlier) {
      return model_.label(earlier.label) == model_.label(at->label);
    });
    if (deduplicate && is_repeated) continue;
    for (const uint32_t token : model_.label_tokens(at->label)) {
      if (tokens_.size() < most) tokens_.push_back(token);
    }
  }
  tokens_.push_back(model_.word_piece().special_tokens().sep);
}

Matrix Pipeline::prefix() const {
  return prefix_.first_rows(tokens_.size() + features_.height * features_.width);
}

void Pipeline::embed_tokens(const Runtime& runtime) {
  const size_t count = tokens_.size();
  model_.modulator().forward(runtime, tokens_.data(), count - 1, features_, gate_, modulated_);
  model_.fusion().embed_prefix(runtime, tokens_.data(), count, modulated_, prefix());
}

void Pipeline::embed_prefix(const Runtime& runtime) {
  choose_tokens();
  embed_tokens(runtime);
}

void Pipeline::run_prefix(const Runtime& runtime) {
  model_.fusion().run_prefix(runtime, prefix(), fusion_state_);
}

}  // namespace lightcap::internal
