// Captions that their host ends: how soon they answer, and that their session goes on.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "tests/answers.h"
#include "tests/api_session.h"
#include "tests/forged_jpeg.h"
#include "tests/sanitized.h"

namespace lightcap::internal::testing {
namespace {

using Clock = std::chrono::steady_clock;

bool error_has(const std::string& text) {
  return std::string(lightcap_last_error()).find(text) != std::string::npos;
}

struct CloseFlag {
  void operator()(lightcap_cancel* flag) const { lightcap_cancel_close(flag); }
};
using FlagHandle = std::unique_ptr<lightcap_cancel, CloseFlag>;

FlagHandle open_flag() {
  lightcap_cancel* flag = nullptr;
  EXPECT_EQ(lightcap_cancel_open(&flag), LIGHTCAP_OK);
  return FlagHandle(flag);
}

// A picture that takes every stage some time, the first one too: 12 megapixels of a phone.
class Camera {
 public:
  Camera() : luma_(kWidth * kHeight), chroma_(kWidth * kHeight / 2) {
    for (size_t i = 0; i < luma_.size(); ++i) luma_[i] = static_cast<uint8_t>(i * i / 977 + i / 3);
    for (size_t i = 0; i < chroma_.size(); ++i)
      chroma_[i] = static_cast<uint8_t>(100 + i / 999 % 50);
    frame_.format = LIGHTCAP_PIXELS_NV21;
    frame_.orientation = 6;
    frame_.width = kWidth;
    frame_.height = kHeight;
    frame_.plane[0] = luma_.data();
    frame_.plane[1] = chroma_.data();
  }
  const lightcap_frame& frame() const { return frame_; }

 private:
  static constexpr size_t kWidth = 4000, kHeight = 3000;
  std::vector<uint8_t> luma_, chroma_;
  lightcap_frame frame_ = LIGHTCAP_FRAME_INIT;
};

class Cancel : public ::testing::Test {
 protected:
  static ModelHandle open_demo_model() {
    lightcap_model* model = nullptr;
    EXPECT_EQ(lightcap_model_open(LIGHTCAP_DEMO_MODEL, nullptr, &model), LIGHTCAP_OK);
    return ModelHandle(model);
  }
  Outcome caption(lightcap_session* session) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    const lightcap_status status =
        lightcap_caption_frame(session, &camera_.frame(), &options_, &result);
    return outcome_of(status, result);
  }

  const Camera camera_;
  FlagHandle flag_ = open_flag();
  lightcap_caption_options options_ = LIGHTCAP_CAPTION_OPTIONS_INIT;
};

// The moments lie all over a caption, so that all stages are met. A thread's own clock says how
// much it still did: on a machine that is busy otherwise, the wall's says how long it waited too.
TEST_F(Cancel, FiftyRandomMomentsAreAnsweredWithinFiveMilliseconds) {
  constexpr size_t kMoments = kSanitized ? 2 : 25;  // for each number of threads
  constexpr double kLimit = 5;
  const ModelHandle model = open_demo_model();
  for (const int threads : {1, 2}) {
    const SessionHandle session = open_session(model.get(), threads);
    options_.cancel = nullptr;
    const Outcome expected = caption(session.get());
    ASSERT_EQ(expected.status, LIGHTCAP_OK) << lightcap_last_error();
    const double start = milliseconds(CLOCK_MONOTONIC);
    caption(session.get());
    const double whole = milliseconds(CLOCK_MONOTONIC) - start;
    options_.cancel = flag_.get();
    const Answers answers = answers_at_random_moments(
        kMoments, whole, kLimit, 19u + static_cast<unsigned>(threads),
        [&] {
          const Outcome outcome = caption(session.get());
          if (outcome.status != LIGHTCAP_OK) {
            EXPECT_EQ(outcome.status, LIGHTCAP_ERROR_CANCELLED) << lightcap_last_error();
            return false;
          }
          EXPECT_EQ(outcome, expected);  // it was done already
          return true;
        },
        [&] { lightcap_cancel_set(flag_.get(), 1); }, [&] { lightcap_cancel_set(flag_.get(), 0); });
    ASSERT_EQ(answers.own.size(), kMoments);
    EXPECT_EQ(caption(session.get()), expected) << "the session goes on";
    answers.print(std::to_string(threads) + " threads, a caption of " +
                  std::to_string(std::lround(whole)) + " ms");
    if (!kSanitized) {
      EXPECT_LT(answers.own.back(), kLimit);
    }
  }
}

TEST_F(Cancel, ARaisedFlagEndsACaptionAtOnce) {
  const ModelHandle model = open_small_model();
  const SessionHandle session = open_session(model.get(), 2);
  options_.cancel = flag_.get();
  const Outcome expected = caption(session.get());
  ASSERT_EQ(expected.status, LIGHTCAP_OK);
  lightcap_cancel_set(flag_.get(), 1);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(caption(session.get()).status, LIGHTCAP_ERROR_CANCELLED);
    EXPECT_TRUE(error_has("cancelled by the host"));
  }
  // Files are not even opened.
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  EXPECT_EQ(lightcap_caption_file(session.get(), "no such file", &options_, &result),
            LIGHTCAP_ERROR_CANCELLED);
  lightcap_cancel_set(flag_.get(), 0);
  EXPECT_EQ(caption(session.get()), expected);
  lightcap_cancel_set(nullptr, 1);
  lightcap_cancel_close(nullptr);
  EXPECT_EQ(lightcap_cancel_open(nullptr), LIGHTCAP_ERROR_USAGE);
}

TEST_F(Cancel, ADeadlineEndsACaptionThatTakesLonger) {
  const ModelHandle model = open_demo_model();
  const SessionHandle session = open_session(model.get(), 1);
  const Outcome expected = caption(session.get());
  for (const uint32_t deadline : {uint32_t{1}, uint32_t{5}, uint32_t{15}}) {
    options_.deadline_ms = deadline;
    const Clock::time_point start = Clock::now();
    EXPECT_EQ(caption(session.get()).status, LIGHTCAP_ERROR_CANCELLED) << deadline;
    EXPECT_TRUE(error_has("deadline"));
    EXPECT_GE(Clock::now() - start, std::chrono::milliseconds(deadline));
  }
  options_.deadline_ms = 3600 * 1000;
  EXPECT_EQ(caption(session.get()), expected);
}

// The first stage, which a file's decoding is: no other begins.
TEST_F(Cancel, ADeadlineEndsTheDecodingOfAFile) {
  const ModelHandle model = open_small_model();
  const SessionHandle session = open_session(model.get(), 1);
  std::vector<std::string> stages;
  const auto note = [](void* context, const char* name, int begins) {
    if (begins != 0) static_cast<std::vector<std::string>*>(context)->emplace_back(name);
  };
  lightcap_session_set_stage(session.get(), note, &stages);
  const Buffer file = forged({0xc0, 4000, 3000, 1}, {kBaselineScan});
  options_.deadline_ms = 1;
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  // No stage at all begins where the thread itself was held up for so long.
  for (int tries = 0; tries < 5 && stages.empty(); ++tries)
    EXPECT_EQ(lightcap_caption_image(session.get(), file.data(), file.size(), &options_, &result),
              LIGHTCAP_ERROR_CANCELLED);
  EXPECT_EQ(stages, std::vector<std::string>{"read_image"});
  options_.deadline_ms = 0;
  EXPECT_EQ(lightcap_caption_image(session.get(), file.data(), file.size(), &options_, &result),
            LIGHTCAP_OK);
}

// A host's threads and callbacks see nothing of it.
TEST_F(Cancel, ExecutorsAndTracesAreEndedToo) {
  const ModelHandle model = open_small_model();
  lightcap_executor executor = {
      flag_.get(), [](void* context, size_t count, void (*task)(void*, size_t), void* argument) {
        static int loops = 0;
        if (++loops == 40) lightcap_cancel_set(static_cast<lightcap_cancel*>(context), 1);
        for (size_t i = 0; i < count; ++i) task(argument, i);
      }};
  lightcap_session_options session_options = LIGHTCAP_SESSION_OPTIONS_INIT;
  session_options.executor = &executor;
  const SessionHandle session = open_session(model.get(), session_options);
  options_.cancel = flag_.get();
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  Outcome outcome;
  for (int i = 0; i < 40 && outcome.status == LIGHTCAP_OK; ++i) outcome = caption(session.get());
  EXPECT_EQ(outcome.status, LIGHTCAP_ERROR_CANCELLED);
  lightcap_cancel_set(flag_.get(), 0);
  EXPECT_EQ(outcome_of(session.get()), usual_outcome());
  EXPECT_EQ(result.caption, nullptr);
}

// Two sessions and one flag, raised while both run: under ThreadSanitizer too.
TEST_F(Cancel, OneFlagEndsManyCaptions) {
  const ModelHandle model = open_small_model();
  options_.cancel = flag_.get();
  std::atomic<int> cancelled{0};
  std::vector<std::thread> users;
  for (int user = 0; user < 2; ++user) {
    users.emplace_back([&] {
      const SessionHandle session = open_session(model.get(), 2);
      Outcome outcome;
      while (outcome.status == LIGHTCAP_OK) outcome = caption(session.get());
      if (outcome.status == LIGHTCAP_ERROR_CANCELLED) ++cancelled;
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  lightcap_cancel_set(flag_.get(), 1);
  for (std::thread& user : users) user.join();
  EXPECT_EQ(cancelled, 2);
}

}  // namespace
}  // namespace lightcap::internal::testing
