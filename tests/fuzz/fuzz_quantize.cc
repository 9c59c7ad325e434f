// Float models out of any .lcw file, made int8 as lightcap-quantize does: it is refused in words,
// or what comes out is a model that opens and captions.
#include "kernels/dispatch.h"
#include "models/lightcap.h"
#include "tests/fuzz/limits.h"
#include "tests/fuzz/mutate_weights.h"
#include "weights_converter/quantizer/calibration.h"
#include "weights_converter/quantizer/int8_model.h"
#include "weights_converter/quantizer/synthetic.h"

// The smallest model has 8.3e6. Calibrating takes a dozen captions without their words.
static constexpr double kMostSteps = 1e7;

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace lightcap::internal::testing;
  return mutate_weights(data, size, max_size, seed, Models::kQuantizable);
}

namespace {

using namespace lightcap::internal;

// Throws Error where there cannot be such a model.
std::vector<uint8_t> quantized(const std::shared_ptr<const Model>& model) {
  check_quantizable(model->weights());
  const size_t pictures = 1 + model->weights().file().tensors().size() % 2;
  const Calibration calibration = calibrate(model, synthetic_pictures(pictures), 1);
  Int8Model int8(model->weights(), calibration, {"model: fuzz"});
  return weights_in_memory(int8.plan(),
                           [&](size_t index, const TensorValues& out) { int8.fill(index, out); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> bytes = testing::sealed(data, size);
  // As in fuzz_weights, and histograms and moments of some hundred layers beside it.
  const fuzz::InputLimits limits(size, size_t{256} << 20, 48, 10.0);
  std::vector<uint8_t> int8;
  try {
    const auto model = std::make_shared<const Model>(
        WeightsFile::from_buffer({bytes.data(), bytes.size()}, "fuzz"));
    if (Session(model, {.kernels = &best_kernels(), .threads = 1}).planned_steps() > kMostSteps)
      return 0;
    int8 = quantized(model);
  } catch (const Error&) {
    return 0;
  }
  // Not within try: what the quantiser writes is never refused.
  const auto model =
      std::make_shared<const Model>(WeightsFile::from_buffer({int8.data(), int8.size()}, "int8"));
  Session session(model, {.kernels = &best_kernels(), .threads = 1});
  const std::vector<uint8_t> pixels(3 * 20 * 10, 90);
  try {
    session.caption(ImageView{pixels.data(), 20, 10, 60}, {});
  } catch (const Error&) {  // numbers that are none, of float layers
  }
  return 0;
}
