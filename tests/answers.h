// How soon what runs is ended from outside: by the own clock of the thread that runs it, and by the
// wall's.
#ifndef LIGHTCAP_TESTS_ANSWERS_H_
#define LIGHTCAP_TESTS_ANSWERS_H_

#include <gtest/gtest.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace lightcap::internal::testing {

inline double milliseconds(clockid_t clock) {
  timespec time = {};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

// Milliseconds from the raising of a flag to the end of what it ends, from the soonest on.
struct Answers {
  std::vector<double> own, by_the_wall;

  void print(const std::string& of_what) const {
    std::printf(
        "%s: answered within %.2f ms of own time, median %.2f; by the wall %.2f, median %.2f\n",
        of_what.c_str(), own.back(), own[own.size() / 2], by_the_wall.back(),
        by_the_wall[by_the_wall.size() / 2]);
  }
};

// Calls run(), which lasts `whole` milliseconds and is true if it came to its end, until raise()
// has ended it `count` times, at random moments of another thread; lower() takes the flag back each
// time. Fewer answers after 1000 calls.
template <class Run, class Raise, class Lower>
Answers answers_at_random_moments(size_t count, double whole, double limit, unsigned seed,
                                  const Run& run, const Raise& raise, const Lower& lower) {
  clockid_t own = {};
  EXPECT_EQ(pthread_getcpuclockid(pthread_self(), &own), 0);
  using Answer = std::pair<double, double>;
  const auto answer_after = [&](std::chrono::duration<double, std::milli> moment) {
    double raised = 0, raised_by_the_wall = 0;
    std::thread other([&] {
      std::this_thread::sleep_for(moment);
      raised_by_the_wall = milliseconds(CLOCK_MONOTONIC);
      raised = milliseconds(own);
      raise();
    });
    const bool is_whole = run();
    const double now = milliseconds(own), now_by_the_wall = milliseconds(CLOCK_MONOTONIC);
    other.join();
    lower();
    return is_whole ? std::nullopt
                    : std::optional<Answer>({now - raised, now_by_the_wall - raised_by_the_wall});
  };
  Answers answers;
  std::minstd_rand random(seed);
  for (int tries = 0; answers.own.size() < count && tries < 1000; ++tries) {
    const std::chrono::duration<double, std::milli> moment(whole * static_cast<double>(random()) /
                                                           static_cast<double>(random.max()));
    // A hypervisor's pauses are charged to a thread as its own time. Those are over when the same
    // moment is tried again; what the work takes is not.
    std::optional<Answer> answer = answer_after(moment);
    for (int again = 0; again < 2 && answer && answer->first >= limit; ++again)
      answer = answer_after(moment);
    if (!answer) continue;
    answers.own.push_back(answer->first);
    answers.by_the_wall.push_back(answer->second);
  }
  std::sort(answers.own.begin(), answers.own.end());
  std::sort(answers.by_the_wall.begin(), answers.by_the_wall.end());
  return answers;
}

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_ANSWERS_H_
