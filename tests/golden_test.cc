// The whole graph against PyTorch: captions of the small seeded model for every configuration, and
// every stage of the first run, on every instruction set of this CPU; the same of an int8 model.
// models/reference made the expectations (tests/goldens/make_goldens.py), with gaps between
// alternatives that rounding can't close.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "engine/io/npy.h"
#include "kernels/dispatch.h"
#include "models/required_words.h"
#include "models/trace.h"
#include "tests/small_model.h"

namespace lightcap::internal {
namespace {

using nlohmann::json;

const std::string kGoldens = LIGHTCAP_GOLDENS;

json expected_runs(const std::string& folder = kGoldens) {
  return json::parse(std::ifstream(folder + "/expected.json"));
}

std::vector<const KernelTable*> supported_kernels() {
  std::vector<const KernelTable*> tables;
  for (size_t i = 0; i < isa_count(); ++i) {
    if (isa_supported(isa_at(i))) tables.push_back(isa_at(i).table);
  }
  return tables;
}

class Golden : public ::testing::TestWithParam<const KernelTable*> {};

Image picture_of(const json& run) {
  return read_image(kGoldens + "/" + run["image"].get<std::string>(), {}, run["exif"] == "apply");
}

DecodeOptions options_of(const json& run) {
  return {.beams = run["beams"].get<size_t>(),
          .length_penalty = run["length_penalty"].get<double>()};
}

// `score_error` is what the caption's mean log-probability may be off by.
void expect_caption(const json& run, std::shared_ptr<const Model> model, const KernelTable* kernels,
                    double score_error = 1e-4) {
  SCOPED_TRACE("beams " + run["beams"].dump() + ", " + run["image"].get<std::string>() + ", " +
               run.value("must_contain", json()).dump());
  DecodeOptions options = options_of(run);
  RequiredWords words(model);
  for (const json& forms : run.value("must_contain", json::array())) words.add(forms);
  if (words.constraints().count() > 0) options.constraints = &words.constraints();
  Session session(std::move(model), {.kernels = kernels,
                                     .threads = 2,
                                     .max_beams = options.beams,
                                     .max_states = words.constraints().states()});
  session.caption(picture_of(run).view(), options);
  EXPECT_EQ(session.hypothesis().tokens, run["tokens"].get<std::vector<uint32_t>>());
  EXPECT_EQ(session.text(), run["caption"].get<std::string>());
  EXPECT_NEAR(session.hypothesis().score, run["score"].get<double>(), score_error);
  const json& concepts = run["concepts"];
  ASSERT_EQ(session.concepts().size(), concepts.size());
  for (size_t i = 0; i < concepts.size(); ++i) {
    const Concept& found = session.concepts()[i];
    EXPECT_EQ(session.model().label(found.label), concepts[i]["label"].get<std::string>());
    EXPECT_NEAR(found.similarity, concepts[i]["similarity"].get<double>(), 1e-4);
    EXPECT_NEAR(found.score, concepts[i]["score"].get<double>(), 1e-4);
    for (size_t k = 0; k < 4; ++k)
      EXPECT_NEAR(found.box[k], concepts[i]["box"][k].get<double>(), 0.01);
  }
}

TEST_P(Golden, CaptionsAreTheReferences) {
  for (const json& run : expected_runs()) {
    SCOPED_TRACE(run["config"].get<std::string>());
    expect_caption(run, testing::small_model(run["config"]), GetParam());
  }
}

// The largest difference that a stage may have, as a part of its largest value. The first two are
// exact: integers through a table. The others grow with the number of rounded sums before them.
const std::map<std::string, double> kStages = {
    {"encoder_input", 0}, {"detector_input", 0},  {"image_features", 2e-5},
    {"detections", 1e-4}, {"roi_features", 2e-5}, {"concept_similarity", 5e-5},
    {"gate", 2e-5},       {"prefix", 2e-5},       {"log_probabilities", 2e-5},
};

std::map<std::string, NpyArray> stages_of(const json& run, std::shared_ptr<const Model> model,
                                          SessionOptions options) {
  options.max_beams = options_of(run).beams;
  Session session(std::move(model), options);
  std::map<std::string, NpyArray> traced;
  Trace trace([&](const char* name, const float* data, std::initializer_list<size_t> dims) {
    const size_t count = std::accumulate(dims.begin(), dims.end(), size_t{1}, std::multiplies<>());
    traced[name] = {std::vector<float>(data, data + count), dims};
  });
  session.caption(picture_of(run).view(), options_of(run), std::array<StageObserver*, 1>{&trace});
  return traced;
}

void expect_near(const NpyArray& actual, const NpyArray& expected, double allowed) {
  ASSERT_EQ(actual.dims, expected.dims);
  double largest = 0, error = 0;
  for (size_t i = 0; i < expected.data.size(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(expected.data[i])));
    const double difference =
        static_cast<double>(actual.data[i]) - static_cast<double>(expected.data[i]);
    ASSERT_TRUE(std::isfinite(difference)) << "at " << i;
    error = std::max(error, std::fabs(difference));
  }
  EXPECT_LE(error, allowed * largest) << "largest value " << largest;
}

TEST_P(Golden, EveryStageIsTheReferences) {
  const json run = expected_runs()[0];
  const auto traced = stages_of(run, testing::small_model(run["config"]), {.kernels = GetParam()});
  EXPECT_EQ(traced.size(), kStages.size());
  for (const auto& [name, allowed] : kStages) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(traced.contains(name));
    expect_near(traced.at(name), read_npy(kGoldens + "/trace/" + name + ".npy"), allowed);
  }
}

// Remembers what computed the 3x3 convolutions, by the side of their outputs.
struct ConvolutionWatcher final : Observer {
  void begin(const LayerWork& work) override {
    if (work.kernel_size == 3 && work.stride == 1) {
      kernels[std::min(work.height, work.width)].insert(std::string(work.kernel));
    }
  }
  void end() override {}
  void task_begin() override {}
  void task_end() override {}

  std::map<size_t, std::set<std::string>> kernels;
};

// PyTorch's words and boxes hold this configuration too; here features, which show a smaller error.
TEST_P(Golden, BothTilesOfWinogradComputeWhatDirectConvolutionsDo) {
  const json runs = expected_runs();
  const auto run = std::find_if(runs.begin(), runs.end(),
                                [](const json& one) { return one["config"] == "side14"; });
  ASSERT_NE(run, runs.end());
  ConvolutionWatcher watcher;
  const auto model = testing::small_model((*run)["config"]);
  const auto winograd = stages_of(*run, model, {.kernels = GetParam(), .observer = &watcher});
  EXPECT_TRUE(watcher.kernels[14].contains("winograd2"));
  EXPECT_TRUE(watcher.kernels[28].contains("winograd4"));
  EXPECT_TRUE(watcher.kernels[7].contains("conv"));
  ConvolutionWatcher direct_watcher;
  const auto direct = stages_of(
      *run, model, {.kernels = GetParam(), .low_memory = true, .observer = &direct_watcher});
  EXPECT_EQ(direct_watcher.kernels[14], std::set<std::string>{"conv"});
  for (const char* name : {"image_features", "detections"}) {
    SCOPED_TRACE(name);
    expect_near(winograd.at(name), direct.at(name), kStages.at(name));
  }
}

// ---- int8 ----

const std::string kInt8 = kGoldens + "/int8";

// A number halfway between two of the 16-bit ones may go to either: it moves by 1 / 32512 of its
// row's largest, 3e-5. A caption's log-probabilities are behind a few such layers.
constexpr double kWideRounding = 1e-4;
// As README promises.
constexpr double kInt8LogProbabilityError = 2e-3;

// Parts of a stage's largest value, as in kStages. All that is before the features is integer.
const std::map<std::string, double> kInt8Stages = {
    {"encoder_input", 0},    {"detector_input", 0},     {"image_features", 0},
    {"detections", 1e-4},    {"roi_features", 2e-5},    {"concept_similarity", kWideRounding},
    {"gate", kWideRounding}, {"prefix", kWideRounding},
};

TEST_P(Golden, Int8CaptionsAreTheReferences) {
  const auto model = testing::int8_model();
  for (const json& run : expected_runs(kInt8))
    expect_caption(run, model, GetParam(), kInt8LogProbabilityError);
}

TEST_P(Golden, EveryInt8StageIsTheReferences) {
  const json run = expected_runs(kInt8)[0];
  for (const int threads : {1, 3}) {
    SCOPED_TRACE("threads " + std::to_string(threads));
    const auto traced =
        stages_of(run, testing::int8_model(), {.kernels = GetParam(), .threads = threads});
    for (const auto& [name, allowed] : kInt8Stages) {
      SCOPED_TRACE(name);
      ASSERT_TRUE(traced.contains(name));
      // The inputs are those of the first float model.
      const std::string& folder = name.ends_with("_input") ? kGoldens : kInt8;
      expect_near(traced.at(name), read_npy(folder + "/trace/" + name + ".npy"), allowed);
    }
    const NpyArray& logs = traced.at("log_probabilities");
    const NpyArray expected = read_npy(kInt8 + "/trace/log_probabilities.npy");
    ASSERT_EQ(logs.dims, expected.dims);
    for (size_t i = 0; i < logs.data.size(); ++i)
      ASSERT_NEAR(logs.data[i], expected.data[i], kInt8LogProbabilityError);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, Golden, ::testing::ValuesIn(supported_kernels()),
                         [](const auto& isa) { return std::string(isa.param->isa); });

}  // namespace
}  // namespace lightcap::internal
