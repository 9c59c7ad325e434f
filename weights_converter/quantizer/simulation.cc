#include "weights_converter/quantizer/simulation.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "models/lightcap.h"
#include "models/nms.h"
#include "weights_converter/quantizer/int8_model.h"

namespace lightcap::internal {
namespace {

using Kind = TappedOperation::Kind;

// A tensor's numbers, densely.
class Copy {
 public:
  Copy() = default;
  explicit Copy(const Tensor& x) {
    *this = of_shape(x);
    fill(x);
  }
  // Zeros in the shape of another.
  static Copy of_shape(const Tensor& x) {
    Copy copy;
    copy.height_ = x.height, copy.width_ = x.width, copy.channels_ = x.channels;
    copy.values_.resize(x.height * x.width * x.channels);
    return copy;
  }

  Tensor view() {
    return {values_.data(), height_, width_, channels_, width_ * channels_, channels_};
  }
  // Adds these numbers and their differences to `rounded`, which must have the same shape.
  void compare(const Tensor& rounded, SignalAndNoise& sums) const {
    for (size_t i = 0; i < height_ * width_; ++i) {
      const float* const pixel =
          rounded.data + i / width_ * rounded.row_stride + i % width_ * rounded.pixel_stride;
      for (size_t c = 0; c < channels_; ++c) {
        const double value = values_[i * channels_ + c];
        const double difference = value - double{pixel[c]};
        sums.signal += value * value;
        sums.noise += difference * difference;
      }
    }
  }
  bool has_shape_of(const Tensor& x) const {
    return height_ == x.height && width_ == x.width && channels_ == x.channels;
  }

 private:
  void fill(const Tensor& x) {
    for (size_t i = 0; i < height_ * width_; ++i) {
      const float* const pixel = x.data + i / width_ * x.row_stride + i % width_ * x.pixel_stride;
      std::copy_n(pixel, channels_, values_.data() + i * channels_);
    }
  }

  size_t height_ = 0, width_ = 0, channels_ = 0;
  std::vector<float> values_;
};

std::string_view name_of(const TappedOperation& operation) {
  return operation.kind == Kind::kConv ? operation.conv->name : operation.linear->name;
}

bool has_weights(const TappedOperation& operation) {
  return operation.kind == Kind::kConv || operation.kind == Kind::kLinear;
}

// The grids of operations as they run, by the flow's order.
class Grids {
 public:
  explicit Grids(const Calibration& calibration) : calibration_(calibration) {}

  void begin_picture() { operation_ = 0; }
  // The grid of the next operation's output; null where that stays floats.
  const ActivationGrid* next(const TappedOperation& operation) {
    if (operation.kind == Kind::kLinear) return nullptr;
    const size_t grid = calibration_.flow.grid_of_operation[operation_++];
    return grid == kNoGrid ? nullptr : &calibration_.grids[grid];
  }

 private:
  const Calibration& calibration_;
  size_t operation_ = 0;
};

// Watches the model as it is: keeps what each layer writes, and computes beside it what the layer
// would write if it alone were rounded.
class FloatTap final : public ValueTap {
 public:
  FloatTap(const Calibration& calibration, const Weights& rounded, int threads,
           std::vector<LayerReport>& layers)
      : grids_(calibration), rounded_(rounded), pool_(threads), layers_(layers) {
    arena_.allocate();
  }

  void begin_picture() {
    grids_.begin_picture();
    outputs_.clear();
  }
  void before(const TappedOperation& operation) override {
    if (!has_weights(operation)) return;
    alone_ = Copy::of_shape(operation.output);
    const Runtime runtime = {choose_kernels(nullptr), pool_, arena_};
    const std::string name(name_of(operation));
    if (operation.kind == Kind::kConv) {
      Conv conv = *operation.conv;
      conv.weights = rounded_.packed(name + ".weight");
      conv.bias = rounded_.floats(name + ".bias");
      conv2d(runtime, conv, operation.input, alone_.view(), *operation.fused);
    } else {
      Linear linear = *operation.linear;
      linear.weights = rounded_.packed(tensor_of(name));
      internal::linear(runtime, linear, operation.input.pixels(), alone_.view().pixels(),
                       *operation.fused);
    }
  }
  void after(const TappedOperation& operation) override {
    const ActivationGrid* const grid = grids_.next(operation);
    if (!has_weights(operation)) return;
    if (grid != nullptr) round_to_grid(*grid, alone_.view());
    outputs_.emplace_back(operation.output);
    outputs_.back().compare(alone_.view(), layer(name_of(operation)).alone);
  }

  // The outputs of all layers, in the order in which they ran.
  const std::vector<Copy>& outputs() const { return outputs_; }
  LayerReport& layer(std::string_view name) {
    const auto found = numbers_.emplace(name, layers_.size());
    if (found.second) layers_.push_back({.name = std::string(name), .alone = {}, .all = {}});
    return layers_[found.first->second];
  }

 private:
  // The vocabulary's matrix stands alone.
  std::string tensor_of(const std::string& name) const {
    const std::string weight = name + ".weight";
    return rounded_.file().find_tensor(weight) != nullptr ? weight : name;
  }

  Grids grids_;
  const Weights& rounded_;
  ThreadPool pool_;
  Arena arena_;
  std::vector<LayerReport>& layers_;
  std::map<std::string, size_t, std::less<>> numbers_;
  Copy alone_;
  std::vector<Copy> outputs_;
};

// Rounds what the double's operations write, and compares it with what the model's wrote.
class RoundingTap final : public ValueTap {
 public:
  RoundingTap(const Calibration& calibration, const FloatTap& floats)
      : grids_(calibration), floats_(floats) {}

  void begin_picture() {
    grids_.begin_picture();
    seen_.clear();
  }
  void after(const TappedOperation& operation) override {
    const ActivationGrid* const grid = grids_.next(operation);
    if (grid != nullptr && operation.kind == Kind::kAveragePool) {
      round_means_to_grid(*grid, operation.output);
    } else if (grid != nullptr) {
      round_to_grid(*grid, operation.output);
    }
    if (!has_weights(operation)) return;
    const size_t index = seen_.size();
    seen_.push_back({name_of(operation), operation.kind == Kind::kLinear, {}});
    const std::vector<Copy>& outputs = floats_.outputs();
    if (index < outputs.size() && outputs[index].has_shape_of(operation.output))
      outputs[index].compare(operation.output, seen_[index].sums);
  }

  struct Seen {
    std::string_view name;
    bool is_linear;
    SignalAndNoise sums;
  };
  const std::vector<Seen>& seen() const { return seen_; }

 private:
  Grids grids_;
  const FloatTap& floats_;
  std::vector<Seen> seen_;
};

// A picture's results.
struct Results {
  std::vector<Concept> concepts;
  std::vector<uint32_t> tokens;
  Copy features;

  explicit Results(const Session& session)
      : concepts(session.concepts()),
        tokens(session.hypothesis().tokens),
        features(session.pipeline().features()) {}

  bool has_words_of(const Results& other) const {
    const auto same = [](const Concept& a, const Concept& b) { return a.label == b.label; };
    return tokens == other.tokens && std::equal(concepts.begin(), concepts.end(),
                                                other.concepts.begin(), other.concepts.end(), same);
  }
};

Box box_of(const Concept& found) {
  return {found.box[0], found.box[1], found.box[2], found.box[3], found.score};
}

// Each box of the floats looks for the nearest of the other's, which is taken then.
void compare_boxes(const Results& floats, const Results& rounded, SimulationReport& report) {
  std::vector<bool> taken(rounded.concepts.size());
  for (const Concept& box : floats.concepts) {
    float best = 0;
    size_t nearest = 0;
    for (size_t i = 0; i < taken.size(); ++i) {
      const float overlap = intersection_over_union(box_of(box), box_of(rounded.concepts[i]));
      if (!taken[i] && overlap > best) best = overlap, nearest = i;
    }
    ++report.boxes;
    if (best < kSameBox) continue;
    taken[nearest] = true;
    ++report.boxes_found;
    if (rounded.concepts[nearest].label != box.label) ++report.concepts_changed;
  }
}

void compare_words(const Results& floats, const Results& rounded, SimulationReport& report) {
  const size_t length = std::max(floats.tokens.size(), rounded.tokens.size());
  for (size_t i = 0; i < length; ++i) {
    if (i >= floats.tokens.size() || i >= rounded.tokens.size() ||
        floats.tokens[i] != rounded.tokens[i]) {
      ++report.tokens_changed;
    }
  }
  report.tokens += length;
  if (floats.tokens != rounded.tokens) ++report.captions_changed;
}

}  // namespace

std::optional<double> SignalAndNoise::decibels() const {
  if (noise <= 0 || signal <= 0) return std::nullopt;
  return 10 * std::log10(signal / noise);
}

SimulationReport simulate(const std::shared_ptr<const Model>& model, const Calibration& calibration,
                          const PictureSet& pictures, int threads,
                          const std::function<void(size_t done)>& progress) {
  SimulationReport report;
  const LayerQuantizer layers(model->weights(), calibration);
  const std::shared_ptr<const Model> rounded = dequantized(model->weights(), layers);
  const KernelTable& kernels = choose_kernels(nullptr);
  FloatTap float_tap(calibration, rounded->weights(), threads, report.layers);
  RoundingTap rounding_tap(calibration, float_tap);
  Session floats(model, {.kernels = &kernels, .threads = threads, .tap = &float_tap});
  Session doubles(rounded, {.kernels = &kernels, .threads = threads, .tap = &rounding_tap});
  for (size_t i = 0; i < pictures.count; ++i) {
    const Image picture = pictures.read(i);
    float_tap.begin_picture();
    floats.run_until(Stage::kDecode, picture.view());
    rounding_tap.begin_picture();
    doubles.run_until(Stage::kDecode, picture.view());
    Results as_is(floats), changed(doubles);
    as_is.features.compare(changed.features.view(), report.features);
    compare_boxes(as_is, changed, report);
    compare_words(as_is, changed, report);
    const bool comparable = as_is.has_words_of(changed);
    for (const RoundingTap::Seen& seen : rounding_tap.seen()) {
      if (seen.is_linear && !comparable) continue;
      SignalAndNoise& all = float_tap.layer(seen.name).all;
      all.signal += seen.sums.signal;
      all.noise += seen.sums.noise;
    }
    ++report.pictures;
    if (progress) progress(i + 1);
  }
  return report;
}

}  // namespace lightcap::internal
