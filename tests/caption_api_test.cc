// The parts of a caption that a host may ask for, and what it may see of one under way.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <set>
#include <stdexcept>
#include <thread>

#include "tests/api_session.h"
#include "tests/temporary_folder.h"

namespace lightcap::internal::testing {
namespace {

bool error_has(const std::string& text) {
  return std::string(lightcap_last_error()).find(text) != std::string::npos;
}

class CaptionApi : public ::testing::Test {
 protected:
  lightcap_status caption(lightcap_result& result) {
    return lightcap_caption_pixels(session_.get(), test_pixels().data(), 97, 61, 0, &options_,
                                   &result);
  }
  lightcap_result captioned() {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    EXPECT_EQ(caption(result), LIGHTCAP_OK) << lightcap_last_error();
    return result;
  }

  ModelHandle model_ = open_small_model();
  SessionHandle session_ = open_session(model_.get(), 2);
  lightcap_caption_options options_ = LIGHTCAP_CAPTION_OPTIONS_INIT;
};

double sum_of(const float* values, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]);
  return sum;
}

// ---- Hypotheses ----

TEST_F(CaptionApi, TokensHaveTheLogProbabilitiesThatTheScoreSums) {
  for (const int beams : {1, 4}) {
    options_.beams = beams;
    options_.length_penalty = 0.5;
    const lightcap_result result = captioned();
    ASSERT_GT(result.token_count, 1u);
    for (size_t i = 0; i < result.token_count; ++i)
      EXPECT_LE(result.token_log_probabilities[i], 0.0f);
    // The same additions in the same order: the score to the bit.
    EXPECT_EQ(sum_of(result.token_log_probabilities, result.token_count) /
                  std::pow(static_cast<double>(result.token_count), 0.5),
              result.score);
  }
}

TEST_F(CaptionApi, BeamSearchGivesItsBestInOrder) {
  options_.beams = 5;
  const lightcap_result result = captioned();
  ASSERT_EQ(result.hypothesis_count, 5u);
  EXPECT_EQ(result.hypothesis_bytes, sizeof(lightcap_hypothesis));
  EXPECT_EQ(result.hypotheses[0].caption, result.caption);
  EXPECT_EQ(result.hypotheses[0].tokens, result.tokens);
  EXPECT_EQ(result.hypotheses[0].token_log_probabilities, result.token_log_probabilities);
  EXPECT_EQ(result.hypotheses[0].token_count, result.token_count);
  EXPECT_EQ(result.hypotheses[0].score, result.score);
  std::set<std::vector<uint32_t>> different;
  for (size_t i = 0; i < result.hypothesis_count; ++i) {
    const lightcap_hypothesis* found = lightcap_hypothesis_at(&result, i);
    ASSERT_EQ(found, result.hypotheses + i);
    different.insert({found->tokens, found->tokens + found->token_count});
    if (i > 0) {
      EXPECT_LE(found->score, found[-1].score);
    }
    EXPECT_EQ(sum_of(found->token_log_probabilities, found->token_count) /
                  static_cast<double>(found->token_count),
              found->score);
    EXPECT_NE(std::string(found->caption), "");
  }
  EXPECT_EQ(different.size(), 5u);
  EXPECT_EQ(lightcap_hypothesis_at(&result, 5), nullptr);
  EXPECT_EQ(lightcap_hypothesis_at(nullptr, 0), nullptr);
}

TEST_F(CaptionApi, GreedySearchGivesOne) {
  const lightcap_result result = captioned();
  ASSERT_EQ(result.hypothesis_count, 1u);
  EXPECT_EQ(result.hypotheses[0].caption, result.caption);
}

// ---- Tokens as they come ----

struct Stream {
  std::function<int(uint32_t, const std::string&)> function;

  void listen(lightcap_caption_options& options) {
    options.on_token_context = this;
    options.on_token = [](void* context, uint32_t token, const char* text) {
      return static_cast<Stream*>(context)->function(token, text);
    };
  }
};

TEST_F(CaptionApi, GreedyTokensComeOneByOneWithTheTextSoFar) {
  std::vector<uint32_t> tokens;
  std::vector<std::string> texts;
  Stream stream{[&](uint32_t token, const std::string& text) {
    tokens.push_back(token);
    texts.push_back(text);
    return LIGHTCAP_GO_ON;
  }};
  const Outcome expected = usual_outcome();
  stream.listen(options_);
  const lightcap_result result = captioned();
  EXPECT_EQ(result.caption, expected.caption);
  EXPECT_EQ(tokens, expected.tokens);
  ASSERT_FALSE(texts.empty());
  EXPECT_EQ(texts.back(), expected.caption);
  for (const std::string& text : texts) EXPECT_TRUE(expected.caption.starts_with(text)) << text;
}

TEST_F(CaptionApi, BeamSearchTellsOfItsBestAndIsTheSame) {
  options_.beams = 3;
  const std::string expected = captioned().caption;
  size_t calls = 0;
  Stream stream{[&](uint32_t, const std::string&) {
    ++calls;
    return LIGHTCAP_GO_ON;
  }};
  stream.listen(options_);
  const lightcap_result result = captioned();
  EXPECT_EQ(result.caption, expected);
  EXPECT_GE(calls, result.token_count);
}

TEST_F(CaptionApi, StoppingKeepsWhatThereIs) {
  const Outcome whole = usual_outcome();
  ASSERT_GT(whole.tokens.size(), 3u);
  for (const int beams : {1, 3}) {
    options_.beams = beams;
    int calls = 0;
    std::string seen;
    Stream stream{[&](uint32_t, const std::string& text) {
      seen = text;
      return ++calls == 3 ? LIGHTCAP_STOP : LIGHTCAP_GO_ON;
    }};
    stream.listen(options_);
    const lightcap_result result = captioned();
    EXPECT_EQ(calls, 3);
    EXPECT_LE(result.token_count, 3u);
    if (beams > 1) continue;  // an ended caption may be better than those under way
    EXPECT_EQ(std::vector<uint32_t>(result.tokens, result.tokens + result.token_count),
              std::vector<uint32_t>(whole.tokens.begin(), whole.tokens.begin() + 3));
    EXPECT_EQ(result.caption, seen);
  }
  EXPECT_EQ(outcome_of(session_.get()), whole);
}

TEST_F(CaptionApi, CancellingAndMistakesAreErrors) {
  Stream stream{[&](uint32_t, const std::string&) { return LIGHTCAP_CANCEL; }};
  stream.listen(options_);
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  EXPECT_EQ(caption(result), LIGHTCAP_ERROR_CANCELLED);
  EXPECT_TRUE(error_has("on_token"));
  EXPECT_EQ(result.caption, nullptr);
  stream.function = [](uint32_t, const std::string&) { return 3; };
  EXPECT_EQ(caption(result), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("on_token returned 3"));
  stream.function = [](uint32_t, const std::string&) -> int { throw std::runtime_error("gone"); };
  EXPECT_EQ(caption(result), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("on_token threw an exception: gone"));
  EXPECT_EQ(outcome_of(session_.get()), usual_outcome());
}

// ---- Parts of a caption ----

TEST_F(CaptionApi, ConceptsComeWithoutACaption) {
  const Outcome expected = usual_outcome();
  options_.work = LIGHTCAP_WORK_CONCEPTS;
  const lightcap_result result = captioned();
  EXPECT_STREQ(result.caption, "");
  EXPECT_EQ(result.token_count, 0u);
  EXPECT_EQ(result.hypothesis_count, 0u);
  EXPECT_EQ(lightcap_hypothesis_at(&result, 0), nullptr);
  ASSERT_EQ(result.concept_count * 6 + 1, expected.numbers.size());
  for (size_t i = 0; i < result.concept_count; ++i) {
    const lightcap_concept& found = result.concepts[i];
    EXPECT_EQ(static_cast<double>(found.similarity), expected.numbers[6 * i + 1]);
    EXPECT_EQ(static_cast<double>(found.box[3]), expected.numbers[6 * i + 6]);
  }
  EXPECT_GT(result.timings_ms.concepts, 0);
  EXPECT_EQ(result.timings_ms.decoding, 0);
  options_.work = 3;
  lightcap_result refused = LIGHTCAP_RESULT_INIT;
  EXPECT_EQ(caption(refused), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("work is 3"));
  EXPECT_EQ(outcome_of(session_.get()), expected);
}

std::vector<float> traced_features;

TEST_F(CaptionApi, FeaturesAreThoseOfTheTraceAndTheirMeanHasLengthOne) {
  lightcap_session_set_trace(
      session_.get(),
      [](void*, const char* name, const float* data, const size_t* dims, size_t ndim) {
        if (std::string(name) != "image_features") return;
        ASSERT_EQ(ndim, 3u);
        traced_features.assign(data, data + dims[0] * dims[1] * dims[2]);
      },
      nullptr);
  captioned();
  lightcap_session_set_trace(session_.get(), nullptr, nullptr);
  for (const int work : {LIGHTCAP_WORK_CAPTION, LIGHTCAP_WORK_FEATURES}) {
    options_.work = work;
    const lightcap_result result = captioned();
    EXPECT_EQ(result.concept_count == 0, work == LIGHTCAP_WORK_FEATURES);
    lightcap_features features = LIGHTCAP_FEATURES_INIT;
    ASSERT_EQ(lightcap_session_features(session_.get(), &features), LIGHTCAP_OK);
    const size_t cells = features.side * features.side;
    ASSERT_EQ(features.channels * cells, traced_features.size());
    double squares = 0, along = 0, means = 0;
    for (size_t c = 0; c < features.channels; ++c) {
      double sum = 0;
      for (size_t y = 0; y < features.side; ++y) {
        for (size_t x = 0; x < features.side; ++x) {
          const float value = features.grid[y * features.row_floats + x * features.cell_floats + c];
          ASSERT_EQ(value, traced_features[c * cells + y * features.side + x]);
          sum += static_cast<double>(value);
        }
      }
      const double mean = sum / static_cast<double>(cells);
      const auto entry = static_cast<double>(features.embedding[c]);
      squares += entry * entry;
      along += entry * mean;
      means += mean * mean;
    }
    EXPECT_NEAR(squares, 1, 1e-6);
    EXPECT_NEAR(along, std::sqrt(means), 1e-6 * std::sqrt(means));  // in the mean's direction
  }
}

TEST_F(CaptionApi, FeaturesAreRefusedWithoutACaption) {
  lightcap_features features = LIGHTCAP_FEATURES_INIT;
  EXPECT_EQ(lightcap_session_features(session_.get(), &features), LIGHTCAP_ERROR_USAGE);
  captioned();
  EXPECT_EQ(lightcap_session_features(session_.get(), &features), LIGHTCAP_OK);
  options_.deadline_ms = 1;
  Stream slow{[](uint32_t, const std::string&) { return LIGHTCAP_CANCEL; }};
  slow.listen(options_);
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  EXPECT_EQ(caption(result), LIGHTCAP_ERROR_CANCELLED);
  EXPECT_EQ(lightcap_session_features(session_.get(), &features), LIGHTCAP_ERROR_USAGE);
  EXPECT_EQ(lightcap_session_features(nullptr, &features), LIGHTCAP_ERROR_USAGE);
  EXPECT_EQ(lightcap_session_features(session_.get(), nullptr), LIGHTCAP_ERROR_USAGE);
}

// ---- Stages ----

void note(void* context, const char* name, int begins) {
  static_cast<std::vector<std::string>*>(context)->push_back((begins ? "+" : "-") +
                                                             std::string(name));
}

TEST_F(CaptionApi, StagesBeginAndEnd) {
  std::vector<std::string> seen;
  lightcap_session_set_stage(session_.get(), note, &seen);
  captioned();
  const std::vector<std::string> all = {"+preprocess",    "-preprocess",    "+detector",
                                        "-detector",      "+image_encoder", "-image_encoder",
                                        "+concepts",      "-concepts",      "+fusion_prefix",
                                        "-fusion_prefix", "+decoding",      "-decoding"};
  EXPECT_EQ(seen, all);
  seen.clear();
  Stream stream{[](uint32_t, const std::string&) { return LIGHTCAP_CANCEL; }};
  stream.listen(options_);
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  EXPECT_EQ(caption(result), LIGHTCAP_ERROR_CANCELLED);
  EXPECT_EQ(seen, all) << "an error ends its stage too";
  seen.clear();
  EXPECT_EQ(lightcap_caption_file(session_.get(), "no such file", nullptr, &result),
            LIGHTCAP_ERROR_INPUT);
  EXPECT_EQ(seen, (std::vector<std::string>{"+read_image", "-read_image"}));
  lightcap_session_set_stage(
      session_.get(), [](void*, const char*, int) { throw std::runtime_error("full"); }, nullptr);
  EXPECT_EQ(caption(result), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("the stage function threw an exception: full"));
  lightcap_session_set_stage(session_.get(), nullptr, nullptr);
  EXPECT_EQ(outcome_of(session_.get()), usual_outcome());
}

// A host may take its time in them, which is not the stages'.
TEST_F(CaptionApi, TimesOfStagesAreWithoutTheHostsFunction) {
  static constexpr auto kPause = std::chrono::milliseconds(100);
  lightcap_session_set_stage(
      session_.get(), [](void*, const char*, int) { std::this_thread::sleep_for(kPause); },
      nullptr);
  const lightcap_result result = captioned();
  const lightcap_timings& ms = result.timings_ms;
  for (const double stage : {ms.read_image, ms.preprocess, ms.detector, ms.image_encoder,
                             ms.concepts, ms.fusion_prefix, ms.decoding})
    EXPECT_LT(stage, 90);
  EXPECT_GT(ms.total, 1200);
}

// ---- Models in parts of files ----

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(open(path.c_str(), O_RDONLY)) {}
  ~Descriptor() { close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

TEST_F(CaptionApi, AModelMayLieAnywhereInAFile) {
  std::ifstream file(small_model_path(), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const TemporaryFolder folder;
  for (const size_t offset : {size_t{0}, size_t{64}, size_t{4096}, size_t{4160}, size_t{1001}}) {
    for (const size_t behind : {size_t{0}, size_t{777}}) {
      const std::string path = folder / "package";
      std::ofstream(path, std::ios::binary)
          << std::string(offset, 'x') << bytes << std::string(behind, 'y');
      lightcap_model* opened = nullptr;
      {
        const Descriptor descriptor(path);
        ASSERT_EQ(lightcap_model_open_fd(descriptor.get(), offset, behind == 0 ? 0 : bytes.size(),
                                         nullptr, &opened),
                  LIGHTCAP_OK)
            << lightcap_last_error();
        char first = 0;
        EXPECT_EQ(read(descriptor.get(), &first, 1), 1) << "it stays open, and where it was";
      }
      const ModelHandle model(opened);
      EXPECT_EQ(outcome_of(open_session(model.get(), 1).get()), usual_outcome()) << offset;
    }
  }
}

TEST_F(CaptionApi, PartsThatTheFileDoesNotHaveAreRefused) {
  const Descriptor descriptor(small_model_path());
  std::ifstream file(small_model_path(), std::ios::ate | std::ios::binary);
  const auto size = static_cast<uint64_t>(file.tellg());
  lightcap_model* model = nullptr;
  const auto open = [&](int fd, uint64_t offset, uint64_t bytes) {
    return lightcap_model_open_fd(fd, offset, bytes, nullptr, &model);
  };
  EXPECT_EQ(open(descriptor.get(), 0, size + 1), LIGHTCAP_ERROR_MODEL);
  EXPECT_TRUE(error_has("asked for were " + std::to_string(size + 1))) << lightcap_last_error();
  EXPECT_EQ(open(descriptor.get(), 1, size), LIGHTCAP_ERROR_MODEL);
  EXPECT_EQ(open(descriptor.get(), UINT64_MAX, 1), LIGHTCAP_ERROR_MODEL);
  EXPECT_EQ(open(descriptor.get(), 1, UINT64_MAX), LIGHTCAP_ERROR_MODEL);
  EXPECT_EQ(open(descriptor.get(), size, 0), LIGHTCAP_ERROR_MODEL);
  EXPECT_EQ(open(descriptor.get(), 64, 0), LIGHTCAP_ERROR_MODEL);  // no model begins there
  EXPECT_EQ(open(-1, 0, 0), LIGHTCAP_ERROR_USAGE);
  EXPECT_EQ(open(1000000, 0, 0), LIGHTCAP_ERROR_MODEL);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(open(ends[0], 0, 0), LIGHTCAP_ERROR_MODEL);
  EXPECT_TRUE(error_has("not a regular file"));
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(lightcap_model_open_fd(descriptor.get(), 0, 0, nullptr, nullptr), LIGHTCAP_ERROR_USAGE);
}

}  // namespace
}  // namespace lightcap::internal::testing
