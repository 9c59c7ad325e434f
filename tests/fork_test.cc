// A forked child and handles of its parent's, of whose threads it has none.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "tests/api_session.h"

namespace lightcap::internal::testing {
namespace {

#if defined(__has_feature)
#define LIGHTCAP_HAS_FEATURE(name) __has_feature(name)
#else
#define LIGHTCAP_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || LIGHTCAP_HAS_FEATURE(thread_sanitizer)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif
#if defined(__SANITIZE_ADDRESS__) || LIGHTCAP_HAS_FEATURE(address_sanitizer)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

constexpr const char* kNoThreads = "ThreadSanitizer has no threads in forked children";
constexpr const char* kLocked = "AddressSanitizer's allocator may stay locked in a forked child";

// The result of `body`, run in a forked child; -1 if the child died by a signal, or hung.
int in_child(const std::function<int()>& body) {
  // Threads that have just started still allocate, see kLocked.
  if (kAddressSanitizer) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // ends a child that hangs
    _exit(body());
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -2;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// With so many, joining threads that a child does not have is no silent mistake.
constexpr int kThreads = 4;

class Fork : public ::testing::Test {
 protected:
  ModelHandle model_ = open_small_model();
  SessionHandle session_ = open_session(model_.get(), kThreads);
};

TEST_F(Fork, AChildClosesWhatItsParentOpened) {
  usual_outcome();
  const auto close = [&] {
    session_.reset();
    model_.reset();
    return 0;
  };
  EXPECT_EQ(in_child(close), 0) << "before a caption";
  EXPECT_EQ(outcome_of(session_.get()), usual_outcome());
  EXPECT_EQ(in_child(close), 0) << "after a caption, workers awake";
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(in_child(close), 0) << "workers asleep";
  EXPECT_EQ(outcome_of(session_.get()), usual_outcome()) << "the parent goes on";
}

TEST_F(Fork, AChildCaptionsWithItsParentsSession) {
  if (kThreadSanitizer) GTEST_SKIP() << kNoThreads;
  const Outcome expected = usual_outcome();
  const auto caption_twice_and_close = [&] {
    if (outcome_of(session_.get()) != expected) return 1;
    if (lightcap_session_threads(session_.get()) != kThreads) return 2;
    if (outcome_of(session_.get()) != expected) return 3;
    session_.reset();
    return 0;
  };
  EXPECT_EQ(in_child(caption_twice_and_close), 0) << "before a caption";
  EXPECT_EQ(outcome_of(session_.get()), expected);
  EXPECT_EQ(in_child(caption_twice_and_close), 0) << "after a caption";
  EXPECT_EQ(outcome_of(session_.get()), expected);
}

TEST_F(Fork, AChildOpensSessionsBesideItsParents) {
  if (kThreadSanitizer) GTEST_SKIP() << kNoThreads;
  const Outcome expected = usual_outcome();
  EXPECT_EQ(in_child([&] {
              SessionHandle another = open_session(model_.get(), kThreads);
              if (outcome_of(another.get()) != expected) return 1;
              another.reset();
              session_.reset();
              another = open_session(model_.get(), kThreads);
              return outcome_of(another.get()) == expected ? 0 : 2;
            }),
            0);
}

TEST_F(Fork, AGrandchildCaptionsAsWell) {
  if (kThreadSanitizer) GTEST_SKIP() << kNoThreads;
  const Outcome expected = usual_outcome();
  EXPECT_EQ(in_child([&] {
              const int grandchild =
                  in_child([&] { return outcome_of(session_.get()) == expected ? 0 : 1; });
              if (grandchild != 0) return 10 + grandchild;
              if (outcome_of(session_.get()) != expected) return 1;
              return in_child([&] {
                const bool same = outcome_of(session_.get()) == expected;
                session_.reset();
                return same ? 0 : 1;
              });
            }),
            0);
}

// Runs until it is told to stop; `*context` becomes true once a caption is well under way.
void note_stage(void* context, const char*, const float*, const size_t*, size_t) {
  static_cast<std::atomic<bool>*>(context)->store(true);
}

TEST_F(Fork, DuringACaptionOnAnotherThreadLeavesASessionToClose) {
  if (kAddressSanitizer) GTEST_SKIP() << kLocked;
  const Outcome expected = usual_outcome();
  std::atomic<bool> under_way{false}, stop{false};
  lightcap_session_set_trace(session_.get(), note_stage, &under_way);
  std::thread user([&] {
    while (!stop) outcome_of(session_.get());
  });
  for (int round = 0; round < 10; ++round) {
    under_way = false;
    while (!under_way) std::this_thread::yield();
    const int code = in_child([&] {
      lightcap_result result = LIGHTCAP_RESULT_INIT;
      if (!kThreadSanitizer) {
        // Between two captions it may caption; in one, it is told what to do.
        const lightcap_status status = caption_pixels(session_.get(), result);
        const bool told = std::string(lightcap_last_error()).find("forked") != std::string::npos;
        if (status != LIGHTCAP_OK && !(status == LIGHTCAP_ERROR_USAGE && told)) return 1;
        const SessionHandle another = open_session(model_.get(), 2);
        if (outcome_of(another.get()) != expected) return 2;
      }
      session_.reset();
      model_.reset();
      return 0;
    });
    EXPECT_EQ(code, 0);
  }
  stop = true;
  user.join();
}

// The first session of a model transforms weights, which others wait for: a child must not wait for
// a thread of its parent's.
TEST_F(Fork, WhileAnotherThreadOpensASessionLeavesAModelToCaptionWith) {
  if (kThreadSanitizer) GTEST_SKIP() << kNoThreads;
  if (kAddressSanitizer) GTEST_SKIP() << kLocked;
  const Outcome expected = usual_outcome();
  for (int delay_us = 0; delay_us < 2000; delay_us += 100) {
    const ModelHandle model = open_small_model();
    std::thread user([&] {
      const SessionHandle session = open_session(model.get(), 1);
      EXPECT_EQ(outcome_of(session.get()), expected);
    });
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    EXPECT_EQ(in_child([&] {
                const SessionHandle another = open_session(model.get(), 1);
                return outcome_of(another.get()) == expected ? 0 : 1;
              }),
              0);
    user.join();
  }
}

}  // namespace
}  // namespace lightcap::internal::testing
