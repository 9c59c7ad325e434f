// Decoding that is ended from outside.
#include <gtest/gtest.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "engine/image/image.h"
#include "engine/runtime/error.h"
#include "engine/runtime/interruption.h"
#include "tests/forged_jpeg.h"
#include "tests/pictures.h"
#include "tests/sanitized.h"

namespace lightcap::internal {
namespace {

using namespace testing;

double milliseconds(clockid_t clock) {
  timespec time = {};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

clockid_t own_clock() {
  clockid_t clock = {};
  EXPECT_EQ(pthread_getcpuclockid(pthread_self(), &clock), 0);
  return clock;
}

// A host that may end what is decoded.
struct Host {
  std::atomic<int> flag{0};
  Interruption interruption;

  Host() { expect(); }
  void expect() { interruption.expect({&flag, std::nullopt}); }
};

// The pixels, or the words of the error.
std::string outcome_of(const Buffer& file, const Interruption* interruption) {
  try {
    const Image image = decode_image(file.data(), file.size(), {}, true, "the image",
                                     {.interruption = interruption});
    const Buffer pixels = pixels_of(image);
    return std::to_string(image.width) + ":" + std::string(pixels.begin(), pixels.end());
  } catch (const Error& error) {
    return error.what();
  }
}

// In quarters of a turn: EXIF's orientation 6.
Buffer turned(Buffer file) {
  insert(file, 2,
         jpeg_segment(0xe1, bytes_of(std::string_view("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12"
                                                      "\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
                                                      32))));
  return file;
}

TEST(ImageInterruption, ThatDoesNotComeChangesNothing) {
  const Host host;
  std::minstd_rand random(4);
  for (const Buffer& whole : {jpeg(), turned(jpeg(70, 50)),
                              forged({0xc2, 40, 30, 3}, refinements(3)), png(3), bmp(), ppm()}) {
    EXPECT_EQ(outcome_of(whole, &host.interruption), outcome_of(whole, nullptr));
    for (int i = 0; i < 200; ++i) {
      Buffer damaged = whole;
      damaged[2 + random() % (damaged.size() - 2)] = static_cast<uint8_t>(random());
      if (i % 3 == 0) damaged.resize(2 + random() % (damaged.size() - 2));
      EXPECT_EQ(outcome_of(damaged, &host.interruption), outcome_of(damaged, nullptr));
    }
  }
}

TEST(ImageInterruption, EndsEveryFormat) {
  Host host;
  host.flag = 1;
  for (const Buffer& file : {jpeg(), png(3), bmp(), ppm()})
    EXPECT_EQ(outcome_of(file, &host.interruption), "cancelled by the host");
}

// One picture whose entropy-coded data are missing, which takes the time of all stages but that,
// and a smaller one that has them.
TEST(ImageInterruption, OfAJpegIsAnsweredWithinFiveMilliseconds) {
  Host host;
  std::minstd_rand random(20);
  const clockid_t own = own_clock();
  const struct {
    const char* name;
    Buffer file;
  } pictures[] = {{"without data", turned(forged({0xc0, 2592, 1944, 3}, {kBaselineScan}))},
                  {"with data", turned(jpeg(1600, 1200))}};
  for (const auto& [name, file] : pictures) {
    const double start = milliseconds(CLOCK_MONOTONIC);
    outcome_of(file, &host.interruption);
    const double whole = milliseconds(CLOCK_MONOTONIC) - start;
    std::vector<double> answers;
    constexpr size_t kMoments = testing::kSanitized ? 2 : 6;
    for (int tries = 0; answers.size() < kMoments && tries < 200; ++tries) {
      const std::chrono::duration<double, std::milli> moment(whole * static_cast<double>(random()) /
                                                             static_cast<double>(random.max()));
      double raised = 0;
      std::thread other([&] {
        std::this_thread::sleep_for(moment);
        raised = milliseconds(own);
        host.flag = 1;
      });
      const std::string outcome = outcome_of(file, &host.interruption);
      const double now = milliseconds(own);
      other.join();
      host.flag = 0;
      host.expect();
      if (outcome == "cancelled by the host") answers.push_back(now - raised);
    }
    ASSERT_EQ(answers.size(), kMoments) << name;
    std::sort(answers.begin(), answers.end());
    std::printf("%s, decoded in %.0f ms: answered within %.2f ms of own time, median %.2f\n", name,
                whole, answers.back(), answers[answers.size() / 2]);
    if (!testing::kSanitized) {
      EXPECT_LT(answers.back(), 5.0) << name;
    }
  }
}

}  // namespace
}  // namespace lightcap::internal
