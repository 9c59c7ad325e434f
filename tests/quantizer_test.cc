// lightcap-quantize's parts: weights, grids, the flow of activations, and models made of them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <set>

#include "kernels/dispatch.h"
#include "kernels/pack.h"
#include "models/lightcap.h"
#include "tests/expect_error.h"
#include "tests/lcw_file.h"
#include "weights_converter/quantizer/activation_grid.h"
#include "weights_converter/quantizer/calibration.h"
#include "weights_converter/quantizer/compensation.h"
#include "weights_converter/quantizer/int8_model.h"
#include "weights_converter/quantizer/simulation.h"
#include "weights_converter/quantizer/synthetic.h"
#include "weights_converter/quantizer/weight_rows.h"

namespace lightcap::internal::testing {
namespace {

// ---- Weights ----

TEST(WeightRows, KeepTheRuleOfPairsAndAreNearest) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  size_t full_pairs = 0;
  for (int run = 0; run < 2000; ++run) {
    std::vector<double> row(1 + random() % 40);
    const double size = std::pow(10, static_cast<int>(random() % 20) - 10);
    const bool one_sign = run % 3 == 0;  // where all pairs count
    for (double& weight : row)
      weight = size * (one_sign ? std::abs(normal(random)) : normal(random));
    Int8Rows rows;
    append_row(row, rows);
    ASSERT_EQ(rows.depth, row.size());
    int sum = 0;
    for (size_t k = 0; k < row.size(); ++k) {
      const int value = rows.values[k];
      sum += value;
      ASSERT_GE(value, -127);
      const double error = row[k] - double{rows.scales[0]} * value;
      ASSERT_LE(std::abs(error), 0.5001 * double{rows.scales[0]}) << run;
      if (k % 2 == 1 && (value < 0) == (rows.values[k - 1] < 0)) {
        const int pair = std::abs(value + rows.values[k - 1]);
        ASSERT_LE(pair, kLargestPair);
        full_pairs += pair >= kLargestPair - 1;
      }
    }
    EXPECT_EQ(rows.sums[0], sum);
  }
  EXPECT_GT(full_pairs, 500u) << "scales are larger than they have to be";
}

TEST(WeightRows, TakeTheSmallestScale) {
  const std::vector<double> apart = {127, 0, -3, 5}, together = {60, 67.5, 0, 1},
                            opposed = {127, -127}, across = {0, 127, 127, 0};
  EXPECT_FLOAT_EQ(weight_scale(apart), 1);
  EXPECT_FLOAT_EQ(weight_scale(together), 1);  // 127.5 / 127.5
  EXPECT_FLOAT_EQ(weight_scale(opposed), 1);
  EXPECT_FLOAT_EQ(weight_scale(across), 1);
  const std::vector<double> heavy = {127, 127};
  EXPECT_FLOAT_EQ(weight_scale(heavy), 254 / 127.5f);
  Int8Rows rows;
  append_row(heavy, rows);
  EXPECT_EQ(rows.values, (std::vector<int8_t>{64, 64}));
}

TEST(WeightRows, ZerosHaveAScale) {
  Int8Rows rows;
  append_row(std::vector<double>(8), rows);
  EXPECT_EQ(rows.scales[0], 1);
  EXPECT_EQ(rows.sums[0], 0);
}

// ---- Grids ----

Histogram histogram_of(std::vector<float> values) {
  const Tensor view = {values.data(), 1, 1, values.size(), values.size(), values.size()};
  ValueRange range;
  EXPECT_TRUE(range.add(view));
  Histogram histogram(range);
  histogram.add(view);
  return histogram;
}

TEST(ActivationGrid, ReachesToWhatMatters) {
  std::vector<float> values;
  for (int i = 0; i <= 1000; ++i) values.push_back(static_cast<float>(i) / 100);
  const ActivationGrid even = choose_grid(histogram_of(values), false);
  EXPECT_EQ(even.zero, 0);
  EXPECT_NEAR(even.scale, 10 / 255.0, 1e-3);
  // An outlier among a thousand is worth a coarser grid, among a million it is not.
  const size_t count = values.size();
  values.push_back(30);
  EXPECT_GT(choose_grid(histogram_of(values), false).scale, 28 / 255.0f);
  Histogram histogram = histogram_of(values);
  for (int i = 0; i < 1000; ++i) histogram.add({values.data(), 1, 1, count, count, count});
  EXPECT_LT(choose_grid(histogram, false).scale, 14 / 255.0f);
}

TEST(ActivationGrid, OfSiluIsExactForItsFactor) {
  std::mt19937 random(2);
  for (int run = 0; run < 200; ++run) {
    std::vector<float> values = {-0.2785f};
    const float size = std::pow(10.0f, static_cast<float>(random() % 500) / 100 - 2);
    for (int i = 0; i < 300; ++i)
      values.push_back(size * static_cast<float>(random() % 1000) / 1000);
    const ActivationGrid grid = choose_grid(histogram_of(values), true);
    ASSERT_GE(grid.silu_factor, 1);
    ASSERT_LE(grid.silu_factor, 32767);
    EXPECT_EQ(grid.scale, 64.0f / static_cast<float>(grid.silu_factor));
    EXPECT_EQ(grid.zero, std::lrint(0.27846454276107379 / double{grid.scale}));
  }
}

TEST(ActivationGrid, RoundsToBytes) {
  const ActivationGrid grid = {.scale = 0.5f, .zero = 2};
  std::vector<float> values = {0.2f, 0.3f, -3, 200, 0.25f, 0.75f};
  const Tensor view = {values.data(), 1, 1, 6, 6, 6};
  round_to_grid(grid, view);
  EXPECT_EQ(values, (std::vector<float>{0, 0.5f, -1, 126.5f, 0, 1}));
  values = {0.25f, 0.75f, -0.25f, 0, 0, 0};
  round_means_to_grid(grid, view);
  EXPECT_EQ(values, (std::vector<float>{0.5f, 1, 0, 0, 0, 0}));
}

TEST(ActivationGrid, SeesWhatIsNotFinite) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    std::vector<float> values = {1, bad, 2};
    ValueRange range;
    EXPECT_FALSE(range.add({values.data(), 3, 1, 1, 1, 1}));
  }
}

// ---- Compensation ----

// A convolution over a picture of numbers that go together: channels are mixtures of a few.
struct Convolution {
  size_t side = 20, channels = 8, kernel = 3;
  std::vector<float> input, weights, panels, output;
  Conv conv;

  Convolution() : input(side * side * channels), output(side * side) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> mixture(2 * channels);
    for (float& x : mixture) x = normal(random);
    for (size_t pixel = 0; pixel < side * side; ++pixel) {
      const float a = normal(random), b = normal(random);
      for (size_t c = 0; c < channels; ++c) {
        input[pixel * channels + c] =
            0.5f + a * mixture[c] + b * mixture[channels + c] + 0.1f * normal(random);
      }
    }
    conv.in = channels, conv.kernel = kernel, conv.padding = 1;
    conv.weights.outputs = 1, conv.weights.depth = kernel * kernel * channels;
    for (size_t k = 0; k < conv.weights.depth; ++k) weights.push_back(normal(random));
  }
  Tensor view() { return {input.data(), side, side, channels, side * channels, channels}; }
  Tensor result() { return {output.data(), side, side, 1, side, 1}; }
  TappedOperation operation() {
    return {
        .kind = TappedOperation::Kind::kConv, .input = view(), .output = result(), .conv = &conv};
  }
  // The sum of squares of what weights in the order of depth, and a bias, make of the picture.
  double energy(std::span<const double> row, double bias) {
    std::vector<float> by_channel(row.size());
    for (size_t k = 0; k < row.size(); ++k) {
      const size_t tap = k / channels, c = k % channels;
      by_channel[c * kernel * kernel + tap] = static_cast<float>(row[k]);
    }
    panels.assign(panel_elements(1, row.size()) + 16, 0);
    auto* const aligned =
        reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(panels.data()) + 63) / 64 * 64);
    pack_conv_panels(by_channel.data(), 1, channels, kernel, kernel, aligned);
    conv.weights.data = aligned;
    const auto float_bias = static_cast<float>(bias);
    conv.bias = &float_bias;
    ThreadPool pool(1);
    Arena arena;
    arena.allocate();
    conv2d({.kernels = best_kernels(), .pool = pool, .arena = arena}, conv, view(), result());
    double sum = 0;
    for (const float y : output) sum += double{y} * double{y};
    return sum;
  }
};

TEST(InputMoments, AreOfTheWindowsThatAConvolutionReads) {
  Convolution convolution;
  InputMoments moments;
  moments.add(convolution.operation(), SIZE_MAX);
  std::vector<double> row(convolution.weights.begin(), convolution.weights.end());
  const double expected = convolution.energy(row, 0.75);
  row.push_back(0.75);
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    for (size_t j = i; j < row.size(); ++j)
      sum += (i == j ? 1 : 2) * row[i] * row[j] * moments.at(i, j);
  }
  EXPECT_NEAR(sum, expected, 1e-4 * expected);
}

TEST(Compensation, LosesLessThanRoundingAndKeepsPairs) {
  Convolution convolution;
  InputMoments moments;
  moments.add(convolution.operation(), SIZE_MAX);
  const size_t depth = moments.depth();
  std::vector<size_t> places(depth);
  for (size_t k = 0; k < depth; ++k) places[k] = k;
  const Compensation compensation(moments, places, depth);
  std::mt19937 random(4);
  std::normal_distribution<double> normal;
  double lost_plain = 0, lost_compensated = 0;
  for (int run = 0; run < 50; ++run) {
    std::vector<double> row(depth);
    for (double& weight : row) weight = normal(random);
    const float scale = weight_scale(row);
    std::vector<int8_t> plain(depth), compensated(depth);
    EXPECT_EQ(quantize_row(row, scale, plain), scale);
    const double bias = compensation.round(row, 0.5, scale, compensated);
    const auto lost = [&](const std::vector<int8_t>& values, double bias_lost) {
      std::vector<double> difference(depth);
      for (size_t k = 0; k < depth; ++k) difference[k] = row[k] - double{scale} * values[k];
      return convolution.energy(difference, bias_lost);
    };
    lost_plain += lost(plain, 0);
    lost_compensated += lost(compensated, 0.5 - bias);
    for (size_t k = 0; k + 1 < depth; k += 2) {
      if ((compensated[k] < 0) == (compensated[k + 1] < 0)) {
        EXPECT_LE(std::abs(compensated[k] + compensated[k + 1]), kLargestPair);
      }
    }
  }
  EXPECT_LT(lost_compensated, lost_plain / 2);
}

// A channel that the checkpoint lacks keeps a weight of 0, and nothing is moved to it.
TEST(Compensation, LeavesPaddingAlone) {
  Convolution convolution;
  InputMoments moments;
  moments.add(convolution.operation(), SIZE_MAX);
  const size_t depth = moments.depth();
  std::vector<size_t> places(depth);
  std::vector<double> row(2 * depth);
  for (size_t k = 0; k < depth; ++k) {
    places[k] = 2 * k;
    row[2 * k] = double{convolution.weights[k]};
  }
  const Compensation compensation(moments, places, 2 * depth);
  std::vector<int8_t> values(2 * depth);
  EXPECT_TRUE(std::isfinite(compensation.round(row, 0, weight_scale(row), values)));
  for (size_t k = 0; k < depth; ++k) EXPECT_EQ(values[2 * k + 1], 0);
}

// ---- Models ----

// Half of some of the detector's widths is no multiple of 4.
Config float_config() {
  Config config = smallest_config();
  config.image_encoder.width = 8;
  config.image_encoder.blocks = {1, 2, 1, 2};
  config.detector.widths = {8, 10, 12, 16, 24};
  config.detector.depths = {1, 2, 1, 1, 1, 1, 1, 1};
  config.detector.confidence_threshold = 0;
  return config;
}

std::shared_ptr<const Model> float_model() { return open_model(LcwFile::of(float_config())); }

TEST(DataFlow, SharesGridsWhereBytesAreShared) {
  const DataFlow flow = trace_flow(float_model(), 1);
  std::map<size_t, std::set<std::string>> writers;
  std::map<std::string, const ConvFlow*> convs;
  for (const ConvFlow& conv : flow.convs) {
    convs[conv.name] = &conv;
    if (conv.output != kNoGrid) writers[conv.output].insert(conv.name);
  }
  EXPECT_EQ(writers.size(), flow.grids);
  const auto detector = [](std::initializer_list<const char*> modules) {
    std::set<std::string> names;
    for (const std::string module : modules) names.insert("detector.model." + module + ".conv");
    return names;
  };
  // Slices of one buffer, what upsampling copies, and chains of residuals.
  const std::set<std::set<std::string>> expected = {
      detector({"2.cv1", "2.cv2", "2.m.0.cv2"}),
      detector({"4.cv1", "4.cv2", "4.m.0.cv2", "4.m.1.cv2"}),
      detector({"6.cv1", "6.cv2", "6.m.0.cv2"}),
      detector({"8.cv1", "8.cv2", "8.m.0.cv2"}),
      detector({"4.cv3", "14", "18"}),
      detector({"6.cv3", "10", "21"}),
      detector({"13.cv2", "13.m.0.cv2"}),
      detector({"17.cv2", "17.m.0.cv2"}),
      detector({"20.cv2", "20.m.0.cv2"}),
      detector({"23.cv2", "23.m.0.cv2"})};
  std::set<std::set<std::string>> shared;
  for (const auto& [grid, names] : writers) {
    if (names.size() > 1) shared.insert(names);
  }
  EXPECT_EQ(shared, expected);

  std::set<std::string> floats;
  for (const ConvFlow& conv : flow.convs) {
    if (conv.output == kNoGrid && !conv.is_shortcut) floats.insert(conv.name);
  }
  EXPECT_EQ(floats, (std::set<std::string>{"image_encoder.layer4.1.conv3", "detector.model.24.m.0",
                                           "detector.model.24.m.1", "detector.model.24.m.2"}));

  const ConvFlow& joined = *convs.at("image_encoder.layer2.0.conv3");
  EXPECT_EQ(joined.shortcut, "image_encoder.layer2.0.downsample.0");
  EXPECT_EQ(joined.residual, kNoGrid);
  EXPECT_TRUE(convs.at(joined.shortcut)->is_shortcut);
  EXPECT_EQ(convs.at(joined.shortcut)->input, convs.at("image_encoder.layer1.0.conv3")->output);
  const ConvFlow& second = *convs.at("image_encoder.layer2.1.conv3");
  EXPECT_EQ(second.residual, joined.output);
  EXPECT_FALSE(second.residual_after);
  EXPECT_TRUE(convs.at("detector.model.2.m.0.cv2.conv")->residual_after);
  EXPECT_EQ(convs.at("image_encoder.conv1")->input, kPictureGrid);
  EXPECT_EQ(convs.at("detector.model.0.conv")->input, kPictureGrid);
  EXPECT_EQ(convs.at("detector.model.13.cv1.conv")->sources,
            (std::vector<std::string>{"detector.model.10.conv", "detector.model.6.cv3.conv"}));
  EXPECT_EQ(convs.at("detector.model.9.cv2.conv")->sources,
            std::vector<std::string>(4, "detector.model.9.cv1.conv"));
}

std::vector<uint8_t> quantized(const std::shared_ptr<const Model>& model, int threads) {
  const Calibration calibration = calibrate(model, synthetic_pictures(3), threads);
  Int8Model int8(model->weights(), calibration, {"calibration: a test"});
  return weights_in_memory(int8.plan(),
                           [&](size_t index, const TensorValues& out) { int8.fill(index, out); });
}

TEST(Quantize, TheSameBytesForAnyNumberOfThreads) {
  const auto model = float_model();
  const std::vector<uint8_t> once = quantized(model, 1);
  EXPECT_EQ(once, quantized(model, 1));
  EXPECT_EQ(once, quantized(model, 2));
  EXPECT_EQ(once, quantized(model, 3));
}

// A model's results for a picture.
struct Results {
  std::vector<float> features;
  std::vector<Box> boxes;
};
Results run(const std::shared_ptr<const Model>& model) {
  Session session(model, {.kernels = &choose_kernels(nullptr)});
  const Image picture = synthetic_pictures(5).read(4);
  session.run_until(Stage::kEncodeImage, picture.view());
  const Tensor& x = session.pipeline().features();
  Results results = {{}, session.pipeline().boxes()};
  for (size_t i = 0; i < x.height * x.width; ++i) {
    const float* const cell = x.data + i * x.pixel_stride;
    results.features.insert(results.features.end(), cell, cell + x.channels);
  }
  return results;
}
double decibels(const std::vector<float>& a, const std::vector<float>& b) {
  SignalAndNoise sums;
  for (size_t i = 0; i < a.size(); ++i) {
    sums.signal += double{a[i]} * double{a[i]};
    sums.noise += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
  }
  return sums.decibels().value_or(INFINITY);
}

TEST(Quantize, TheEngineComputesWhatTheSimulationSays) {
  const auto model = float_model();
  const std::vector<uint8_t> bytes = quantized(model, 2);
  const LcwFile file = LcwFile::parse(bytes);
  const auto int8 = open_model(file);
  EXPECT_TRUE(int8->config().is_int8());
  EXPECT_EQ(int8->config().detector.widths, (std::array<uint64_t, 5>{8, 16, 16, 16, 24}));
  const Results floats = run(model), integers = run(int8);

  const Calibration calibration = calibrate(model, synthetic_pictures(3), 2);
  const PictureSet one = {1, [](size_t) { return synthetic_pictures(5).read(4); }};
  const SimulationReport report = simulate(model, calibration, one, 2);
  ASSERT_TRUE(report.features.decibels());
  const double simulated = *report.features.decibels();
  const double measured = decibels(floats.features, integers.features);
  EXPECT_GT(simulated, 20);
  EXPECT_NEAR(measured, simulated, 0.5);
  EXPECT_EQ(report.boxes, floats.boxes.size());
  // Single layers lose less than all together, but for chance.
  for (const LayerReport& layer : report.layers) {
    if (!layer.name.starts_with("image_encoder.layer")) continue;
    ASSERT_TRUE(layer.alone.decibels() && layer.all.decibels()) << layer.name;
    EXPECT_GT(*layer.alone.decibels(), *layer.all.decibels() - 1) << layer.name;
  }
}

TEST(Quantize, KeysAreCopied) {
  const auto model = float_model();
  const auto int8 = open_model(LcwFile::parse(quantized(model, 1)));
  const WeightsFile &before = model->weights().file(), &after = int8->weights().file();
  for (const char* key : {"vocabulary", "labels", "fusion.heads", "image_encoder.mean"})
    EXPECT_EQ(*before.find_value(key), *after.find_value(key)) << key;
  EXPECT_EQ(std::get<std::string_view>(*after.find_value("quantization")), "int8");
  check_quantizable(model->weights());
  const std::string again =
      error_of([&] { check_quantizable(int8->weights()); }, ErrorCode::kModel);
  expect_has(again, "is an int8 model already");
}

TEST(Quantize, RefusesWhatIntegersCannotExpress) {
  Config config = float_config();
  config.image_encoder.width = 4;
  const auto narrow = open_model(LcwFile::of(config));
  expect_has(error_of([&] { check_quantizable(narrow->weights()); }, ErrorCode::kModel),
             "the convolution image_encoder.conv2 reads 2 channels; an int8 model needs multiples");

  for (const char* tensor : {"image_encoder.layer2.0.conv2.weight", "modulator.fc1.weight"}) {
    LcwFile file = LcwFile::of(float_config());
    const auto sound = open_model(file);
    const Calibration calibration = calibrate(sound, synthetic_pictures(1), 1);
    file.tensor(tensor).floats()[0] = INFINITY;
    const auto model = open_model(file);
    Int8Model int8(model->weights(), calibration, {});
    const FillTensor fill = [&](size_t i, const TensorValues& out) { int8.fill(i, out); };
    const std::string error =
        error_of([&] { weights_in_memory(int8.plan(), fill); }, ErrorCode::kModel);
    expect_has(error, tensor);
    expect_has(error, "holds numbers that are not finite");
  }
  LcwFile file = LcwFile::of(float_config());
  file.tensor("image_encoder.layer1.0.conv1.bias").floats()[0] = INFINITY;
  const auto model = open_model(file);
  expect_has(error_of([&] { calibrate(model, synthetic_pictures(1), 1); }, ErrorCode::kModel),
             "image_encoder.layer1.0.conv1 computes is not finite");
}

// Biases that are huge beside the weights, and rows of nothing but a bias.
TEST(Quantize, BiasesStayInRange) {
  LcwFile file = LcwFile::of(float_config());
  LcwTensor& weights = file.tensor("image_encoder.layer2.1.conv1.weight");
  const size_t panel = 16;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (i % panel == 0) weights.floats()[i] = 0;
    if (i % panel == 1) weights.floats()[i] *= 1e-12f;
  }
  float* const bias = file.tensor("image_encoder.layer2.1.conv1.bias").floats();
  bias[0] = 0.5f, bias[1] = 0.75f;
  const auto model = open_model(file);
  const auto int8 = open_model(LcwFile::parse(quantized(model, 1)));
  EXPECT_GT(decibels(run(model).features, run(int8).features), 20);
}

}  // namespace
}  // namespace lightcap::internal::testing
