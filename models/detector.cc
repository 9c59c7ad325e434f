#include "models/detector.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

template <class T>
constexpr FusedOf<T> kWithSilu = {.activation = Activation::kSilu};
constexpr size_t kSppfWindow = 5;

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// The corners are looked at, since they are infinite also where width and height run over, from
// the anchors of a damaged file.
bool is_finite(const Box& box) {
  return std::isfinite(box.x1) && std::isfinite(box.y1) && std::isfinite(box.x2) &&
         std::isfinite(box.y2);
}

Error not_finite() {
  return Error(ErrorCode::kModel,
               "the detector's outputs are not finite: its weights are damaged, or not trained");
}

}  // namespace

Detector::Detector(const Weights& weights) {
  weights.load(*this);
  const Config::Detector& config = weights.config().detector;
  anchors_ = config.anchors;
  classes_ = config.classes;
  max_proposals_ = config.max_proposals;
  confidence_threshold_ = static_cast<float>(config.confidence_threshold);
  iou_threshold_ = static_cast<float>(config.iou_threshold);
  // Nearly all cells fall below, and their exponentials would take longer than the rest of this.
  const double threshold = config.confidence_threshold;
  constexpr double kSlack = 1e-3;  // thousands of roundings of a sigmoid
  const double logit = std::log(threshold / (1 - threshold));
  lowest_objectness_ = static_cast<float>(logit - kSlack * (1 + std::abs(logit)));
}

// Widths and heights in pixels of yolov5n.yaml, for strides 8, 16, 32, in units of the stride.
void Detector::fill_anchors(std::span<float> values) {
  constexpr float kPixels[kScales][6] = {
      {10, 13, 16, 30, 33, 23}, {30, 61, 62, 45, 59, 119}, {116, 90, 156, 198, 373, 326}};
  const size_t row = values.size() / kScales;
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t scale = i / row;
    values[i] = kPixels[scale][i % row % 6] / static_cast<float>(stride(scale));
  }
}

// Few of the 25,200 cells pass the threshold: objects are rare, classes are sure.
void Detector::make_objects_rare(std::span<float> bias) {
  constexpr size_t kAnchors = 3;
  const size_t fields = bias.size() % kAnchors == 0 ? bias.size() / kAnchors : bias.size();
  constexpr float kObject = -4, kClass = 2;
  for (size_t i = 0; i < bias.size(); ++i) {
    if (i % fields == 4) bias[i] += kObject;
    if (i % fields > 4) bias[i] += kClass;
  }
}

// y = cv3(concat(m(cv1(x)), cv2(x))), y may be x, where m is a chain of z = cv2(cv1(z)), + z with
// shortcut.
template <class T>
void Detector::run_c3(const Runtime& runtime, const C3& c3, const TensorOf<T>& x,
                      const TensorOf<T>& y) const {
  const Arena::Scope scope(runtime.arena);
  const size_t hidden = c3.cv1.out();
  const TensorOf<T> both = runtime.arena.tensor<T>(x.height, x.width, 2 * hidden);
  const TensorOf<T> chain = both.slice(0, hidden);
  const TensorOf<T> between = runtime.arena.tensor<T>(x.height, x.width, hidden);
  conv2d(runtime, c3.cv1, x, chain, kWithSilu<T>);
  conv2d(runtime, c3.cv2, x, both.slice(hidden, hidden), kWithSilu<T>);
  FusedOf<T> fused = kWithSilu<T>;
  if (c3.shortcut) {
    fused.residual = chain.data;
    fused.residual_stride = chain.pixel_stride;
    fused.residual_after = true;
  }
  for (const auto& [cv1, cv2] : c3.bottlenecks) {
    conv2d(runtime, cv1, chain, between, kWithSilu<T>);
    conv2d(runtime, cv2, between, chain, fused);
  }
  conv2d(runtime, c3.cv3, both, y, kWithSilu<T>);
}

// Spatial pyramid pooling, fast: y = cv2(concat(z, p(z), p(p(z)), p(p(p(z))))) with z = cv1(x).
template <class T>
void Detector::run_sppf(const Runtime& runtime, const TensorOf<T>& x, const TensorOf<T>& y) const {
  const Arena::Scope scope(runtime.arena);
  const size_t hidden = sppf1_.out();
  const TensorOf<T> all = runtime.arena.tensor<T>(x.height, x.width, 4 * hidden);
  conv2d(runtime, sppf1_, x, all.slice(0, hidden), kWithSilu<T>);
  for (size_t i = 0; i < 3; ++i) {
    max_pool(runtime, all.slice(i * hidden, hidden), kSppfWindow, 1, kSppfWindow / 2,
             all.slice((i + 1) * hidden, hidden));
  }
  conv2d(runtime, sppf2_, all, y, kWithSilu<T>);
}

// The backbone down to stride 8. The largest maps come first and are gone before others are made.
template <class T>
void Detector::run_stem(const Runtime& runtime, const TensorOf<T>& x,
                        const TensorOf<T>& out3) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  const TensorOf<T> out1 = arena.tensor<T>(2 * out3.height, 2 * out3.width, conv1_.out());
  {
    const Arena::Scope stem(arena);
    const TensorOf<T> out0 = arena.tensor<T>(4 * out3.height, 4 * out3.width, conv0_.out());
    conv2d(runtime, conv0_, x, out0, kWithSilu<T>);
    conv2d(runtime, conv1_, out0, out1, kWithSilu<T>);
  }
  run_c3(runtime, c2_, out1, out1);
  conv2d(runtime, conv3_, out1, out3, kWithSilu<T>);
}

template <class T>
void Detector::forward(const Runtime& runtime, const TensorOf<T>& x,
                       const std::array<Tensor, kScales>& raw) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  const size_t h = x.height - 2 * kInputPadding;
  const size_t w = x.width - 2 * kInputPadding;
  const size_t w2 = conv3_.out(), w3 = conv5_.out(), w4 = conv7_.out();

  const TensorOf<T> out3 = arena.tensor<T>(h / 8, w / 8, w2);
  run_stem(runtime, x, out3);
  // The neck's concatenations, each filled slice by slice by those who make the slices.
  const TensorOf<T> concat16 = arena.tensor<T>(h / 8, w / 8, w2 + w2);    // up(14), 4
  const TensorOf<T> concat12 = arena.tensor<T>(h / 16, w / 16, w3 + w3);  // up(10), 6
  const TensorOf<T> concat19 = arena.tensor<T>(h / 16, w / 16, w2 + w2);  // 18, 14
  const TensorOf<T> concat22 = arena.tensor<T>(h / 32, w / 32, w3 + w3);  // 21, 10
  const TensorOf<T> out4 = concat16.slice(w2, w2);
  const TensorOf<T> out6 = concat12.slice(w3, w3);
  const TensorOf<T> out14 = concat19.slice(w2, w2);
  const TensorOf<T> out10 = concat22.slice(w3, w3);
  run_c3(runtime, c4_, out3, out4);
  {  // the backbone on to stride 32
    const Arena::Scope backbone(arena);
    const TensorOf<T> out5 = arena.tensor<T>(h / 16, w / 16, w3);
    const TensorOf<T> out7 = arena.tensor<T>(h / 32, w / 32, w4);
    const TensorOf<T> out8 = arena.tensor<T>(h / 32, w / 32, w4);
    conv2d(runtime, conv5_, out4, out5, kWithSilu<T>);
    run_c3(runtime, c6_, out5, out6);
    conv2d(runtime, conv7_, out6, out7, kWithSilu<T>);
    run_c3(runtime, c8_, out7, out8);
    run_sppf(runtime, out8, out7);
    conv2d(runtime, conv10_, out7, out10, kWithSilu<T>);
  }
  // Neck: up to stride 8 ...
  upsample2(runtime, out10, concat12.slice(0, w3));
  const TensorOf<T> out13 = arena.tensor<T>(h / 16, w / 16, w3);
  run_c3(runtime, c13_, concat12, out13);
  conv2d(runtime, conv14_, out13, out14, kWithSilu<T>);
  upsample2(runtime, out14, concat16.slice(0, w2));
  const TensorOf<T>& out17 = out3;  // of the same shape, and read for the last time
  run_c3(runtime, c17_, concat16, out17);
  // ... and down again.
  conv2d(runtime, conv18_, out17, concat19.slice(0, w2), kWithSilu<T>);
  const TensorOf<T> out20 = arena.tensor<T>(h / 16, w / 16, w3);
  run_c3(runtime, c20_, concat19, out20);
  conv2d(runtime, conv21_, out20, concat22.slice(0, w3), kWithSilu<T>);
  const TensorOf<T> out23 = arena.tensor<T>(h / 32, w / 32, w4);
  run_c3(runtime, c23_, concat22, out23);

  conv2d(runtime, detect_[0], out17, raw[0]);
  conv2d(runtime, detect_[1], out20, raw[1]);
  conv2d(runtime, detect_[2], out23, raw[2]);
}

template void Detector::forward(const Runtime&, const Tensor&,
                                const std::array<Tensor, kScales>&) const;
template void Detector::forward(const Runtime&, const ByteTensor&,
                                const std::array<Tensor, kScales>&) const;

// The box of one anchor, of the size `anchor` in units of the stride, in one cell, whose outputs
// are `cell` [5 + classes]; false where it does not pass the confidence threshold.
bool Detector::decode(const float* cell, float column, float row, float stride, const float* anchor,
                      Box& box) const {
  // Infinite too: a sum that ran over says nothing about the picture.
  if (!(cell[4] < std::numeric_limits<float>::infinity())) throw not_finite();
  if (cell[4] < lowest_objectness_) return false;
  const float objectness = sigmoid(cell[4]);
  if (!(objectness > confidence_threshold_)) return false;
  const float score = objectness * sigmoid(*std::max_element(cell + 5, cell + 5 + classes_));
  if (std::isnan(score)) throw not_finite();
  if (!(score > confidence_threshold_)) return false;
  const float center_x = (2 * sigmoid(cell[0]) - 0.5f + column) * stride;
  const float center_y = (2 * sigmoid(cell[1]) - 0.5f + row) * stride;
  const float doubled_w = 2 * sigmoid(cell[2]);
  const float doubled_h = 2 * sigmoid(cell[3]);
  const float half_w = doubled_w * doubled_w * (anchor[0] * stride) / 2;
  const float half_h = doubled_h * doubled_h * (anchor[1] * stride) / 2;
  box = {center_x - half_w, center_y - half_h, center_x + half_w, center_y + half_h, score};
  if (!is_finite(box)) throw not_finite();
  return true;
}

// Boxes that pass the confidence threshold, numbered as PyTorch's output has them: by scale,
// anchor, row and column.
size_t Detector::collect(const std::array<Tensor, kScales>& raw, BoxCandidate* candidates) const {
  size_t count = 0;
  uint32_t order = 0;
  for (size_t scale = 0; scale < kScales; ++scale) {
    const Tensor& cells = raw[scale];
    const auto stride = static_cast<float>(Detector::stride(scale));
    for (size_t anchor = 0; anchor < anchors_; ++anchor) {
      const float* size = anchor_sizes_ + 2 * (scale * anchors_ + anchor);
      for (size_t y = 0; y < cells.height; ++y) {
        for (size_t x = 0; x < cells.width; ++x, ++order) {
          const float* cell =
              cells.data + y * cells.row_stride + x * cells.pixel_stride + anchor * (5 + classes_);
          Box box;
          if (decode(cell, static_cast<float>(x), static_cast<float>(y), stride, size, box))
            candidates[count++] = {box, order};
        }
      }
    }
  }
  return count;
}

size_t Detector::propose(const Runtime& runtime, const std::array<Tensor, kScales>& raw,
                         Box* boxes) const {
  const Arena::Scope scope(runtime.arena);
  size_t cells = 0;
  for (const Tensor& scale : raw) cells += scale.height * scale.width * anchors_;
  auto* candidates = static_cast<BoxCandidate*>(runtime.arena.bytes(cells * sizeof(BoxCandidate)));
  // Every cell may hold a candidate, and each is held against every box that is kept.
  constexpr size_t kCandidateSteps = 64, kOverlapSteps = 8;
  runtime.plan_steps(
      static_cast<double>(cells) *
      static_cast<double>(kCandidateSteps + classes_ + kOverlapSteps * max_proposals_));
  size_t kept = 0;
  runtime.serial([&] {
    kept = suppress_overlaps(candidates, collect(raw, candidates), iou_threshold_, max_proposals_,
                             boxes);
  });
  return kept;
}

}  // namespace lightcap::internal
