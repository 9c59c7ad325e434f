// YOLOv5n as a proposer of class-agnostic boxes (paper, "visual concept extractor"; Ultralytics
// YOLOv5 v6/v7). Checkpoint names: detector.model.N.*, N as in yolov5n.yaml.
#ifndef LIGHTCAP_MODELS_DETECTOR_H_
#define LIGHTCAP_MODELS_DETECTOR_H_

#include <array>
#include <cstdint>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/weights.h"

namespace lightcap {

// x1 y1 x2 y2 in pixels of the detector's input, and objectness times the best class's probability.
struct Box {
  float x1, y1, x2, y2, score;
};

class Detector {
 public:
  // Zeros that the input must have on every side, as in ImageEncoder.
  static constexpr size_t kInputPadding = 2;
  static constexpr size_t kScales = 3;

  explicit Detector(const Weights& weights);

  // x [h + 4][w + 4][3] in [0, 1], zeros around; h and w multiples of 32.
  // raw[scale] [h/s][w/s][anchors * (5 + classes)] for the strides s = 8, 16, 32.
  void forward(const Runtime& runtime, const Tensor& x,
               const std::array<Tensor, kScales>& raw) const;
  size_t outputs_per_cell() const { return anchors_ * (5 + classes_); }

  // Decodes, filters and suppresses: keeps at most max_proposals boxes, best first, and returns how
  // many. `boxes` has room for max_proposals. Throws Error(kModel) where damaged weights make NaN
  // or infinities.
  size_t propose(const Runtime& runtime, const std::array<Tensor, kScales>& raw, Box* boxes) const;

 private:
  // Three convolutions around a chain of bottlenecks (CSP).
  struct C3 {
    Conv cv1, cv2, cv3;
    std::vector<std::pair<Conv, Conv>> bottlenecks;
    bool shortcut;
  };
  C3 c3(const Weights& weights, int module, bool shortcut) const;
  void run_c3(const Runtime& runtime, const C3& c3, const Tensor& x, const Tensor& y) const;
  void run_sppf(const Runtime& runtime, const Tensor& x, const Tensor& y) const;

  struct Candidate {
    Box box;
    uint32_t order;  // the place in PyTorch's output: scale, anchor, row, column
  };
  size_t collect(const std::array<Tensor, kScales>& raw, Candidate* candidates) const;

  Conv conv0_, conv1_, conv3_, conv5_, conv7_, conv10_, conv14_, conv18_, conv21_;
  Conv sppf1_, sppf2_;
  C3 c2_, c4_, c6_, c8_, c13_, c17_, c20_, c23_;
  std::array<Conv, kScales> detect_;
  const float* anchor_sizes_;  // [kScales][anchors][2], in units of the stride
  size_t anchors_, classes_, max_proposals_;
  float confidence_threshold_, iou_threshold_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_DETECTOR_H_
