// Every call of the system's functions for files fails in turn: an error with words, the output old
// or whole, nothing left behind. And files that change while they are read.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "cli/pictures/inputs.h"
#include "engine/image/image.h"
#include "engine/runtime/error.h"
#include "tests/api_session.h"
#include "tests/faults/faults.h"
#include "tests/faults/quantizable_model.h"
#include "tests/sanitized.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/assemble.h"
#include "weights_converter/quantizer/int8_model.h"
#include "weights_converter/quantizer/synthetic.h"
#include "weights_converter/verify.h"
#include "weights_converter/weights_writer.h"

namespace lightcap::internal::testing {
namespace {

struct Attempt {
  lightcap_status status;
  std::string words;
};

// Calls `attempt` with each of its calls of the system failing in each way. Reads and writes that
// are interrupted or short must go on; after other faults the status is one of `statuses`, or 0
// where the call is one that the work can do without. `check` looks at what is left.
void fail_each(
    const std::function<Attempt()>& attempt, const std::vector<lightcap_status>& statuses,
    const std::function<void(const Attempt&)>& check = [](const Attempt&) {}) {
  ASSERT_EQ(attempt().status, LIGHTCAP_OK);
  for (const IoFault fault :
       {IoFault::kEio, IoFault::kShort, IoFault::kNoSpace, IoFault::kInterrupted}) {
    // A call that fails and one that has to go on, under a sanitizer: the others take the same
    // paths.
    if (kSanitized && fault != IoFault::kEio && fault != IoFault::kShort) continue;
    const bool must_go_on = fault == IoFault::kInterrupted || fault == IoFault::kShort;
    size_t failures = 0;
    // Every call fails once; the other faults meet ever fewer of the later ones, which are mostly
    // the same lines of code.
    const auto step = [&](size_t nth) {
      if (kSanitized) return 1 + nth / 2;
      return fault == IoFault::kEio ? size_t{1} : 1 + nth / 32;
    };
    for (size_t nth = 1;; nth += step(nth)) {
      size_t calls = 0;
      std::string failed;
      Attempt outcome;
      {
        const IoFaultAt injected(fault, nth);
        outcome = attempt();
        calls = injected.count();
        failed = injected.failed();
      }
      SCOPED_TRACE("call " + std::to_string(nth) + ", " + failed + ": " + outcome.words);
      check(outcome);
      if (calls < nth) break;
      failures += failed.empty() ? 0 : 1;
      if (outcome.status == LIGHTCAP_OK) continue;
      EXPECT_FALSE(must_go_on) << "fault " << static_cast<int>(fault);
      EXPECT_NE(std::find(statuses.begin(), statuses.end(), outcome.status), statuses.end())
          << outcome.status;
      EXPECT_FALSE(outcome.words.empty());
    }
    EXPECT_TRUE(failures > 0 || fault == IoFault::kNoSpace || must_go_on);
  }
  EXPECT_EQ(attempt().status, LIGHTCAP_OK);
}

// ---- Models and pictures ----

TEST(IoFaults, OpeningAModel) {
  const std::string path = small_model_path();
  for (const int read_into_memory : {0, 1}) {
    lightcap_model_options options = LIGHTCAP_MODEL_OPTIONS_INIT;
    options.read_into_memory = read_into_memory;
    fail_each(
        [&]() -> Attempt {
          lightcap_model* model = nullptr;
          const lightcap_status status = lightcap_model_open(path.c_str(), &options, &model);
          EXPECT_EQ(model == nullptr, status != LIGHTCAP_OK);
          lightcap_model_close(model);
          if (status == LIGHTCAP_OK) return {status, ""};
          EXPECT_NE(std::string(lightcap_last_error()).find(path), std::string::npos);
          return {status, lightcap_last_error()};
        },
        {LIGHTCAP_ERROR_MODEL});
  }
}

TEST(IoFaults, CaptioningAFile) {
  const ModelHandle model = open_small_model();
  const SessionHandle session = open_session(model.get(), 1);
  const std::string path = LIGHTCAP_GOLDENS "/picture.png";
  fail_each(
      [&]() -> Attempt {
        lightcap_result result = LIGHTCAP_RESULT_INIT;
        const lightcap_status status =
            lightcap_caption_file(session.get(), path.c_str(), nullptr, &result);
        if (status == LIGHTCAP_OK) return {status, ""};
        EXPECT_NE(std::string(lightcap_last_error()).find(path), std::string::npos);
        return {status, lightcap_last_error()};
      },
      {LIGHTCAP_ERROR_INPUT});
}

// ---- Conversions ----

class ConvertIo : public ::testing::Test {
 protected:
  ConvertIo() {
    write_safetensors(folder_ / "whole.safetensors", tiny_tensors());
    write_text(folder_ / "vocab.txt", tiny_vocabulary(tiny_config().fusion.vocabulary));
    write_text(folder_ / "labels.txt", tiny_labels(tiny_config().concept_extractor.vocabulary));
    std::filesystem::create_directory(folder_ / "out");
    options_.checkpoints[static_cast<size_t>(Role::kLightcap)] = folder_ / "whole.safetensors";
    options_.vocabulary = folder_ / "vocab.txt";
    options_.labels = folder_ / "labels.txt";
  }

  Attempt convert(bool verify) {
    const std::string path = folder_ / "out/model.lcw";
    try {
      const Conversion conversion(options_);
      const FillTensor fill = [&](size_t index, std::span<float> out) {
        conversion.fill(index, out);
      };
      write_weights(conversion.plan(), fill, path, {});
      if (verify) verify_weights(path, conversion.plan(), fill);
      return {LIGHTCAP_OK, ""};
    } catch (const Error& error) {
      return {static_cast<lightcap_status>(error.code()), error.what()};
    }
  }

  TemporaryFolder folder_;
  ConversionOptions options_;
};

TEST_F(ConvertIo, LeavesTheOldFileOrTheWholeNewOne) {
  const std::string path = folder_ / "out/model.lcw";
  ASSERT_EQ(convert(false).status, LIGHTCAP_OK);
  const std::string whole = read_file(path);
  for (const bool replaces : {false, true}) {
    fail_each(
        [&] {
          std::filesystem::remove(path);
          if (replaces) write_text(path, "old");
          return convert(true);
        },
        // --verify opens the written file as a model.
        {LIGHTCAP_ERROR_CHECKPOINT, LIGHTCAP_ERROR_OUTPUT, LIGHTCAP_ERROR_MODEL},
        [&](const Attempt& outcome) {
          const std::string now = read_file(path);
          const bool old = replaces ? now == "old" : !std::filesystem::exists(path);
          EXPECT_TRUE(now == whole || (outcome.status != LIGHTCAP_OK && old));
          size_t files = 0;
          for (const auto& entry : std::filesystem::directory_iterator(folder_ / "out")) {
            EXPECT_EQ(entry.path().filename(), "model.lcw");
            ++files;
          }
          EXPECT_LE(files, 1u);
        });
  }
}

// Reads and writes the files that lightcap-quantize does. Its computations between them
// take long and ask the system for memory alone.
Attempt quantize(const std::string& in, const std::string& picture, const Calibration& calibration,
                 const std::string& out) {
  try {
    const Model model(WeightsFile::open(in));
    const ImageLimits limits;
    const std::vector<uint8_t> bytes = cli::read_input(picture, limits.max_bytes);
    decode_image(bytes.data(), bytes.size(), limits, true, picture);
    Int8Model int8(model.weights(), calibration, {});
    write_weights(
        int8.plan(), [&](size_t index, const TensorValues& values) { int8.fill(index, values); },
        out);
    return {LIGHTCAP_OK, ""};
  } catch (const Error& error) {
    return {static_cast<lightcap_status>(error.code()), error.what()};
  }
}

TEST(IoFaults, QuantizingHarmsNoFile) {
  const QuantizableModel model;
  const Calibration calibration = calibrate(
      std::make_shared<const Model>(WeightsFile::open(model.in)), synthetic_pictures(1), 1);
  const auto attempt = [&] {
    write_text(model.out, "old");
    return quantize(model.in, LIGHTCAP_GOLDENS "/picture.png", calibration, model.out);
  };
  ASSERT_EQ(attempt().status, LIGHTCAP_OK);
  const std::string whole = read_file(model.out);
  fail_each(attempt, {LIGHTCAP_ERROR_INPUT, LIGHTCAP_ERROR_MODEL, LIGHTCAP_ERROR_OUTPUT},
            [&](const Attempt& outcome) {
              const std::string now = read_file(model.out);
              EXPECT_EQ(read_file(model.in), model.before);
              EXPECT_TRUE(now == whole || (outcome.status != LIGHTCAP_OK && now == "old"));
              EXPECT_EQ(
                  std::distance(std::filesystem::directory_iterator(model.folder / "out"), {}), 1);
            });
}

// ---- Files that change under the reader ----

void shrink(const std::string& path) { std::filesystem::resize_file(path, 1000); }

void grow(const std::string& path) {
  std::filesystem::resize_file(path, std::filesystem::file_size(path) + 4096);
}

// Another file under the same name, as a careful writer does it.
void replace(const std::string& path) {
  write_text(path + ".new", "something else");
  std::filesystem::rename(path + ".new", path);
}

class ChangingFile : public ::testing::Test {
 protected:
  lightcap_status open(int read_into_memory) {
    lightcap_model_options options = LIGHTCAP_MODEL_OPTIONS_INIT;
    options.read_into_memory = read_into_memory;
    lightcap_model* model = nullptr;
    const lightcap_status status = lightcap_model_open(path_.c_str(), &options, &model);
    model_.reset(model);
    return status;
  }
  void SetUp() override { std::filesystem::copy_file(small_model_path(), path_); }

  TemporaryFolder folder_;
  const std::string path_ = folder_ / "model.lcw";
  ModelHandle model_;
};

TEST_F(ChangingFile, ThatShrinksWhileItIsReadIsAnError) {
  after_opening(path_, shrink);
  // Either the size is seen before the change and the end is missing, or after it.
  EXPECT_EQ(open(1), LIGHTCAP_ERROR_MODEL);
  EXPECT_NE(std::string(lightcap_last_error()).find(path_), std::string::npos);
}

TEST_F(ChangingFile, ThatShrinksAfterItWasReadChangesNothing) {
  ASSERT_EQ(open(1), LIGHTCAP_OK) << lightcap_last_error();
  shrink(path_);
  EXPECT_EQ(outcome_of(open_session(model_.get(), 2).get()), usual_outcome());
}

TEST_F(ChangingFile, ThatGrowsWhileItIsReadIsAnErrorOrTheSame) {
  after_opening(path_, grow);
  if (open(1) == LIGHTCAP_OK) {
    EXPECT_EQ(outcome_of(open_session(model_.get(), 2).get()), usual_outcome());
  } else {
    EXPECT_NE(std::string(lightcap_last_error()).find(path_), std::string::npos);
  }
}

TEST_F(ChangingFile, ThatIsReplacedIsReadAsItWas) {
  for (const int read_into_memory : {0, 1}) {
    after_opening(path_, replace);
    ASSERT_EQ(open(read_into_memory), LIGHTCAP_OK) << lightcap_last_error();
    EXPECT_EQ(outcome_of(open_session(model_.get(), 2).get()), usual_outcome());
    std::filesystem::remove(path_);
    std::filesystem::copy_file(small_model_path(), path_);
  }
}

TEST_F(ChangingFile, ThatIsAPictureIsAnErrorWhenItShrinks) {
  const ModelHandle model = open_small_model();
  const SessionHandle session = open_session(model.get(), 1);
  const std::string picture = folder_ / "picture.png";
  std::filesystem::copy_file(LIGHTCAP_GOLDENS "/picture.png", picture);
  after_opening(picture, shrink);
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  EXPECT_EQ(lightcap_caption_file(session.get(), picture.c_str(), nullptr, &result),
            LIGHTCAP_ERROR_INPUT);
  EXPECT_NE(std::string(lightcap_last_error()).find(picture), std::string::npos);
}

}  // namespace
}  // namespace lightcap::internal::testing
