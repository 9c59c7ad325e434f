#include "weights_converter/quantizer/calibration.h"

#include "engine/runtime/error.h"
#include "models/lightcap.h"

namespace lightcap::internal {
namespace {

// A session that runs the two networks under a tap.
class TappedNetworks {
 public:
  TappedNetworks(const std::shared_ptr<const Model>& model, ValueTap& tap, int threads)
      : session_(model, {.kernels = &choose_kernels(nullptr), .threads = threads, .tap = &tap}) {}

  void run(const ImageView& picture) { session_.run_until(Stage::kEncodeImage, picture); }

 private:
  Session session_;
};

// Hands what convolutions write to the numbers that are kept for its grid. What pooling and
// upsampling move is no news.
template <class Numbers>
class GridTap final : public ValueTap {
 public:
  GridTap(const DataFlow& flow, std::vector<Numbers>& numbers) : flow_(flow), numbers_(numbers) {}

  void begin_picture() { operation_ = 0; }
  void after(const TappedOperation& operation) override {
    if (operation.kind == TappedOperation::Kind::kLinear) return;
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
  size_t operation_ = 0;
};

template <class Numbers, class Progress>
void run_pictures(const std::shared_ptr<const Model>& model, const PictureSet& pictures,
                  int threads, const DataFlow& flow, std::vector<Numbers>& numbers,
                  Progress&& progress) {
  GridTap<Numbers> tap(flow, numbers);
  TappedNetworks networks(model, tap, threads);
  for (size_t i = 0; i < pictures.count; ++i) {
    const Image picture = pictures.read(i);
    tap.begin_picture();
    networks.run(picture.view());
    progress(i + 1);
  }
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
  const auto show = [&](size_t done) {
    if (progress) progress(done);
  };
  Calibration result;
  result.flow = trace_flow(model, threads);
  std::vector<ValueRange> ranges(result.flow.grids);
  run_pictures(model, pictures, threads, result.flow, ranges, show);
  std::vector<Histogram> histograms(ranges.begin(), ranges.end());
  run_pictures(model, pictures, threads, result.flow, histograms,
               [&](size_t done) { show(pictures.count + done); });
  std::vector<bool> has_silu(result.flow.grids);
  for (const ConvFlow& conv : result.flow.convs) {
    if (conv.output != kNoGrid && conv.activation == Activation::kSilu)
      has_silu[conv.output] = true;
  }
  for (size_t grid = 0; grid < histograms.size(); ++grid)
    result.grids.push_back(choose_grid(histograms[grid], has_silu[grid]));
  return result;
}

}  // namespace lightcap::internal
