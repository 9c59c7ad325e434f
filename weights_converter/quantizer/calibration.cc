#include "weights_converter/quantizer/calibration.h"

#include <algorithm>

#include "engine/runtime/error.h"
#include "models/lightcap.h"
#include "weights_converter/quantizer/grid_search.h"

namespace lightcap::internal {
namespace {

// A session that runs the two networks under a tap.
class TappedNetworks {
 public:
  TappedNetworks(const std::shared_ptr<const Model>& model, ValueTap& tap, int threads)
      : session_(model, {.kernels = &choose_kernels(nullptr), .threads = threads, .tap = &tap}) {}

  void run(const ImageView& picture) { session_.run_until(Stage::kEncodeImage, picture); }
  const Tensor& detector_input() const { return session_.inputs().detector<float>(); }

 private:
  Session session_;
};

// The moments of convolutions whose rounding is compensated: where these stay small.
class MomentsOfConvs {
 public:
  MomentsOfConvs(const DataFlow& flow, size_t pictures)
      : flow_(flow), windows_((kWindows + pictures - 1) / pictures), moments_(flow.convs.size()) {}

  void begin_picture() { conv_ = 0; }
  void add(const TappedOperation& operation) {
    if (operation.kind != TappedOperation::Kind::kConv) return;
    const size_t index = conv_++;
    const ConvFlow& conv = flow_.convs[index];
    const bool is_joined = conv.is_shortcut || !conv.shortcut.empty();
    if (is_joined || conv.input == kPictureGrid) return;
    if (operation.conv->weights.depth > kMostDepth) return;
    moments_[index].add(operation, windows_);
  }
  std::vector<InputMoments> take() { return std::move(moments_); }

 private:
  // Windows of all pictures together, some for each of the inputs.
  static constexpr size_t kWindows = 4096, kMostDepth = 1152;

  const DataFlow& flow_;
  const size_t windows_;
  std::vector<InputMoments> moments_;
  size_t conv_ = 0;
};

// Hands what convolutions write to the numbers that are kept for its grid. Pooling and
// upsampling bring no new ones.
template <class Numbers>
class GridTap final : public ValueTap {
 public:
  GridTap(const DataFlow& flow, std::vector<Numbers>& numbers, MomentsOfConvs* moments)
      : flow_(flow), numbers_(numbers), moments_(moments) {}

  void begin_picture() {
    operation_ = 0;
    if (moments_ != nullptr) moments_->begin_picture();
  }
  void after(const TappedOperation& operation) override {
    if (operation.kind == TappedOperation::Kind::kLinear) return;
    if (moments_ != nullptr) moments_->add(operation);
    const size_t grid = flow_.grid_of_operation[operation_++];
    if (grid == kNoGrid || operation.kind != TappedOperation::Kind::kConv) return;
    add(numbers_[grid], operation);
  }

 private:
  static void add(ValueRange& range, const TappedOperation& operation) {
    if (range.add(operation.output)) return;
    throw Error(ErrorCode::kModel, "what the layer " + std::string(operation.conv->name) +
                                       " computes is not finite: the model's weights are damaged, "
                                       "or not trained");
  }
  static void add(Histogram& histogram, const TappedOperation& operation) {
    histogram.add(operation.output);
  }

  const DataFlow& flow_;
  std::vector<Numbers>& numbers_;
  MomentsOfConvs* const moments_;  // null: nobody wants them
  size_t operation_ = 0;
};

template <class Numbers, class Progress>
void run_pictures(const std::shared_ptr<const Model>& model, const PictureSet& pictures,
                  int threads, const DataFlow& flow, std::vector<Numbers>& numbers,
                  MomentsOfConvs* moments, Progress&& progress) {
  GridTap<Numbers> tap(flow, numbers, moments);
  TappedNetworks networks(model, tap, threads);
  for (size_t i = 0; i < pictures.count; ++i) {
    const Image picture = pictures.read(i);
    tap.begin_picture();
    networks.run(picture.view());
    progress(i, networks.detector_input());
  }
}

// True for a few pictures, evenly spread.
bool is_searched(size_t picture, size_t count) {
  constexpr size_t kSearched = 4;
  const size_t searched = std::min(kSearched, count);
  return picture * searched / count != (picture + 1) * searched / count;
}

}  // namespace

DataFlow trace_flow(const std::shared_ptr<const Model>& model, int threads) {
  FlowTap tap;
  TappedNetworks networks(model, tap, threads);
  constexpr size_t kSide = 32;
  const std::vector<uint8_t> grey(kSide * kSide * 3, 128);
  networks.run({grey.data(), kSide, kSide, kSide * 3});
  return tap.flow();
}

Calibration calibrate(const std::shared_ptr<const Model>& model, const PictureSet& pictures,
                      int threads, const CalibrationProgress& progress) {
  Calibration result;
  result.flow = trace_flow(model, threads);
  GridSearch search(*model, result.flow, threads);
  const std::vector<size_t> searched = search.grids();
  constexpr size_t kPicturesOfGrid = 5;  // that take about as long as the search for a grid
  const size_t total = 2 * pictures.count + kPicturesOfGrid * searched.size();
  size_t done = 0;
  const auto show = [&](size_t more) {
    done += more;
    if (progress) progress(done, total);
  };
  std::vector<ValueRange> ranges(result.flow.grids);
  run_pictures(model, pictures, threads, result.flow, ranges, nullptr,
               [&](size_t, const Tensor&) { show(1); });
  std::vector<Histogram> histograms(ranges.begin(), ranges.end());
  MomentsOfConvs moments(result.flow, pictures.count);
  run_pictures(model, pictures, threads, result.flow, histograms, &moments,
               [&](size_t i, const Tensor& detector_input) {
                 if (is_searched(i, pictures.count)) search.add_picture(detector_input);
                 show(1);
               });
  result.moments = moments.take();
  std::vector<bool> has_silu(result.flow.grids);
  for (const ConvFlow& conv : result.flow.convs) {
    if (conv.output != kNoGrid && conv.activation == Activation::kSilu)
      has_silu[conv.output] = true;
  }
  for (size_t grid = 0; grid < histograms.size(); ++grid)
    result.grids.push_back(choose_grid(histograms[grid], has_silu[grid]));
  for (const size_t grid : searched) {
    result.grids[grid] = search.improved(grid, result.grids[grid]);
    show(kPicturesOfGrid);
  }
  return result;
}

}  // namespace lightcap::internal
