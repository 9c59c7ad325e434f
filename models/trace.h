// Every stage's result, for comparing it with a reference.
#ifndef LIGHTCAP_MODELS_TRACE_H_
#define LIGHTCAP_MODELS_TRACE_H_

#include <functional>
#include <initializer_list>
#include <utility>
#include <vector>

#include "engine/runtime/tensor.h"
#include "models/nms.h"
#include "models/stage.h"

namespace lightcap::internal {

// Called with a result: fp32, row-major, in PyTorch's order of dimensions, valid during the call.
using TraceFunction =
    std::function<void(const char* name, const float* data, std::initializer_list<size_t> dims)>;

// Hands the results of one caption to a function, under the names that models/reference has for
// them: encoder_input and detector_input [3][h][w], detections [boxes][5], image_features
// [C][G][G], roi_features [boxes][C], concept_similarity [boxes][N], gate [C], prefix [tokens][d]
// and, of greedy search, log_probabilities [steps][W]. Allocates.
class Trace final : public StageObserver, private StepObserver {
 public:
  explicit Trace(TraceFunction function) : function_(std::move(function)) {}

  void end(Stage stage, const Session& session) override;
  StepObserver* step_observer() override { return this; }

 private:
  void step(const float* log_probabilities, size_t words) override;
  void matrix(const char* name, Matrix x) const;
  void channels_first(const char* name, const Tensor& x) const;
  void boxes(const char* name, const std::vector<Box>& boxes) const;

  const TraceFunction function_;
  std::vector<float> log_probabilities_;  // [steps][words]
  size_t words_ = 0;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_TRACE_H_
