// A caption's stages, seen from outside.
#ifndef LIGHTCAP_MODELS_STAGE_H_
#define LIGHTCAP_MODELS_STAGE_H_

#include <array>
#include <chrono>
#include <cstddef>

#include "models/decoder.h"

namespace lightcap::internal {

class Session;

// In the order in which they run.
enum class Stage {
  kPreprocess,
  kDetect,
  kEncodeImage,
  kFindConcepts,
  kEmbedPrefix,
  kRunPrefix,
  kDecode
};
inline constexpr size_t kStages = 7;

// The stages of a caption; those that concepts need, and those that features do.
inline constexpr std::array kCaptionStages = {
    Stage::kPreprocess,  Stage::kDetect,    Stage::kEncodeImage, Stage::kFindConcepts,
    Stage::kEmbedPrefix, Stage::kRunPrefix, Stage::kDecode};
inline constexpr std::array kConceptStages = {Stage::kPreprocess, Stage::kDetect,
                                              Stage::kEncodeImage, Stage::kFindConcepts};
inline constexpr std::array kFeatureStages = {Stage::kPreprocess, Stage::kEncodeImage};

// Is told of each stage of a caption, on the thread that captions. An exception that it throws ends
// the caption.
class StageObserver {
 public:
  virtual void begin(Stage) {}
  // The stage's results are in `session`, until the next stage runs.
  virtual void end(Stage, const Session& /*session*/) {}
  // The one that sees the steps of decoding; null if nobody does.
  virtual StepObserver* step_observer() { return nullptr; }

 protected:
  ~StageObserver() = default;
};

// Times the stages of one caption.
class StageTimer final : public StageObserver {
 public:
  void begin(Stage) override { start_ = Clock::now(); }
  void end(Stage stage, const Session&) override {
    milliseconds_[static_cast<size_t>(stage)] =
        std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }
  double milliseconds(Stage stage) const { return milliseconds_[static_cast<size_t>(stage)]; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_;
  std::array<double, kStages> milliseconds_ = {};
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_STAGE_H_
