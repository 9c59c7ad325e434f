#include "models/trace.h"

#include <algorithm>

#include "models/lightcap.h"

namespace lightcap::internal {

void Trace::end(Stage stage, const Session& session) {
  const Pipeline& pipeline = session.pipeline();
  switch (stage) {
    case Stage::kPreprocess: {
      const size_t size = session.inputs().geometry().encoder.size;
      const LetterboxGeometry& letterbox = session.inputs().geometry().detector;
      function_("encoder_input", session.inputs().encoder_values().data(), {3, size, size});
      function_("detector_input", session.inputs().detector_values().data(),
                {3, letterbox.height, letterbox.width});
      break;
    }
    case Stage::kDetect:
      boxes("detections", pipeline.boxes());
      break;
    case Stage::kEncodeImage:
      channels_first("image_features", pipeline.features());
      break;
    case Stage::kFindConcepts:
      matrix("roi_features", pipeline.roi_features());
      matrix("concept_similarity", pipeline.similarity());
      break;
    case Stage::kEmbedPrefix:
      function_("gate", pipeline.gate().data, {pipeline.gate().columns});
      matrix("prefix", pipeline.prefix());
      break;
    case Stage::kRunPrefix:
      break;
    case Stage::kDecode:
      if (words_ == 0) break;
      function_("log_probabilities", log_probabilities_.data(),
                {log_probabilities_.size() / words_, words_});
      break;
  }
}

void Trace::step(const float* log_probabilities, size_t words) {
  words_ = words;
  log_probabilities_.insert(log_probabilities_.end(), log_probabilities, log_probabilities + words);
}

void Trace::matrix(const char* name, Matrix x) const {
  std::vector<float> dense(x.rows * x.columns);
  for (size_t i = 0; i < x.rows; ++i)
    std::copy_n(x.row(i), x.columns, dense.data() + i * x.columns);
  function_(name, dense.data(), {x.rows, x.columns});
}

// [height][width][channels] as PyTorch has it: [channels, height, width].
void Trace::channels_first(const char* name, const Tensor& x) const {
  std::vector<float> planes;
  planes.reserve(x.channels * x.height * x.width);
  for (size_t c = 0; c < x.channels; ++c) {
    for (size_t row = 0; row < x.height; ++row) {
      for (size_t column = 0; column < x.width; ++column) {
        planes.push_back(x.data[row * x.row_stride + column * x.pixel_stride + c]);
      }
    }
  }
  function_(name, planes.data(), {x.channels, x.height, x.width});
}

void Trace::boxes(const char* name, const std::vector<Box>& boxes) const {
  std::vector<float> rows;
  for (const Box& box : boxes) rows.insert(rows.end(), {box.x1, box.y1, box.x2, box.y2, box.score});
  function_(name, rows.data(), {boxes.size(), 5});
}

}  // namespace lightcap::internal
