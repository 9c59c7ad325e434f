// YOLOv5n as a proposer of class-agnostic boxes (paper, "visual concept extractor"; Ultralytics
// YOLOv5 v6/v7). Checkpoint names: detector.model.N.*, N as in yolov5n.yaml.
#ifndef LIGHTCAP_MODELS_DETECTOR_H_
#define LIGHTCAP_MODELS_DETECTOR_H_

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/nms.h"
#include "models/weights.h"

namespace lightcap::internal {

class Detector {
 public:
  // Zeros that the input must have on every side, as in ImageEncoder.
  static constexpr size_t kInputPadding = 2;
  static constexpr size_t kScales = 3;
  // Pixels of the input that a cell of a scale has on each side.
  static constexpr size_t stride(size_t scale) { return size_t{8} << scale; }

  Detector() = default;
  explicit Detector(const Weights& weights);
  void describe(ModuleVisitor& visitor, Config& config);

  // x [h + 4][w + 4][3] in [0, 1], zeros around, or in an int8 model bytes, [h + 4][w + 4]
  // [kBytePixel]; h and w multiples of 32. raw[scale] [h/s][w/s][anchors * (5 + classes)] for the
  // strides s = 8, 16, 32. T is float or uint8_t.
  template <class T>
  void forward(const Runtime& runtime, const TensorOf<T>& x,
               const std::array<Tensor, kScales>& raw) const;
  size_t outputs_per_cell() const { return anchors_ * (5 + classes_); }

  // boxes [max_proposals] = those that pass the thresholds, in pixels of the detector's input, best
  // first; returns how many. Throws Error(kModel) where damaged weights make NaN or infinities.
  // While planning there are none.
  size_t propose(const Runtime& runtime, const std::array<Tensor, kScales>& raw, Box* boxes) const;

 private:
  // Three convolutions around a chain of bottlenecks (CSP).
  struct C3 {
    Conv cv1, cv2, cv3;
    std::vector<std::pair<Conv, Conv>> bottlenecks;
    bool shortcut;
  };
  static void fill_anchors(std::span<float> values);
  static void make_objects_rare(std::span<float> bias);
  template <class T>
  void run_stem(const Runtime& runtime, const TensorOf<T>& x, const TensorOf<T>& out3) const;
  template <class T>
  void run_c3(const Runtime& runtime, const C3& c3, const TensorOf<T>& x,
              const TensorOf<T>& y) const;
  template <class T>
  void run_sppf(const Runtime& runtime, const TensorOf<T>& x, const TensorOf<T>& y) const;

  bool decode(const float* cell, float column, float row, float stride, const float* anchor,
              Box& box) const;
  size_t collect(const std::array<Tensor, kScales>& raw, BoxCandidate* candidates) const;

  Conv conv0_, conv1_, conv3_, conv5_, conv7_, conv10_, conv14_, conv18_, conv21_;
  Conv sppf1_, sppf2_;
  C3 c2_, c4_, c6_, c8_, c13_, c17_, c20_, c23_;
  std::array<Conv, kScales> detect_;
  const float* anchor_sizes_ = nullptr;  // [kScales][anchors][2], in units of the stride
  size_t anchors_ = 0, classes_ = 0, max_proposals_ = 0;
  float confidence_threshold_ = 0, iou_threshold_ = 0;
  float lowest_objectness_ = 0;  // below which no sigmoid passes the threshold
};

inline void Detector::describe(ModuleVisitor& visitor, Config& config) {
  const std::string root = "detector.model.";
  const double residual_gain = 0.5;  // what is added to a shortcut is kept small
  // SiLU leaves about 0.36 of the second moment.
  const auto conv = [&](Conv& module, const std::string& name, const ConvShape& shape,
                        double gain = std::sqrt(1 / 0.36)) {
    visitor.conv(module, root + name + ".conv", shape, gain, root + name + ".bn", 1e-3);
  };
  const auto c3 = [&](C3& module, const std::string& name, uint64_t in, uint64_t out,
                      uint64_t& depth, bool shortcut) {
    const uint64_t hidden = out / 2;
    conv(module.cv1, name + ".cv1", {in, hidden});
    conv(module.cv2, name + ".cv2", {in, hidden});
    conv(module.cv3, name + ".cv3", {2 * hidden, out});
    module.bottlenecks.resize(visitor.list(root + name + ".m.", depth));
    for (size_t i = 0; i < module.bottlenecks.size(); ++i) {
      const std::string bottleneck = name + ".m." + std::to_string(i);
      conv(module.bottlenecks[i].first, bottleneck + ".cv1", {hidden, hidden});
      conv(module.bottlenecks[i].second, bottleneck + ".cv2", {hidden, hidden, 3, 1, 1},
           residual_gain);
    }
    module.shortcut = shortcut;
  };
  auto& sizes = config.detector;
  auto& [w0, w1, w2, w3, w4] = sizes.widths;
  auto& depths = sizes.depths;
  const uint64_t pixel = config.is_int8() ? kBytePixel : 3;
  conv(conv0_, "0", {pixel, tells(w0), 6, 2, 0});  // its padding is in the input
  conv(conv1_, "1", {w0, tells(w1), 3, 2, 1});
  c3(c2_, "2", w1, w1, depths[0], true);
  conv(conv3_, "3", {w1, tells(w2), 3, 2, 1});
  c3(c4_, "4", w2, w2, depths[1], true);
  conv(conv5_, "5", {w2, tells(w3), 3, 2, 1});
  c3(c6_, "6", w3, w3, depths[2], true);
  conv(conv7_, "7", {w3, tells(w4), 3, 2, 1});
  c3(c8_, "8", w4, w4, depths[3], true);
  conv(sppf1_, "9.cv1", {w4, w4 / 2});
  conv(sppf2_, "9.cv2", {2 * w4, w4});
  conv(conv10_, "10", {w4, w3});
  c3(c13_, "13", 2 * w3, w3, depths[4], false);
  conv(conv14_, "14", {w3, w2});
  c3(c17_, "17", 2 * w2, w2, depths[5], false);
  conv(conv18_, "18", {w2, w2, 3, 2, 1});
  c3(c20_, "20", 2 * w2, w3, depths[6], false);
  conv(conv21_, "21", {w3, w3, 3, 2, 1});
  c3(c23_, "23", 2 * w3, w4, depths[7], false);
  const Dim outputs = tells(sizes.classes, {.factor = sizes.anchors, .plus = 5});
  for (size_t scale = 0; scale < kScales; ++scale) {
    visitor.conv(detect_[scale], root + "24.m." + std::to_string(scale),
                 {sizes.widths[2 + scale], scale == 0 ? outputs : outputs.value}, 1.0, "", 0,
                 {.deviation = 0.3, .change = make_objects_rare});
  }
  visitor.values(anchor_sizes_, root + "24.anchors", {kScales, tells(sizes.anchors), 2},
                 {.change = fill_anchors});
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_DETECTOR_H_
