// Many pictures at once, with results in the pictures' order.
#ifndef LIGHTCAP_CLI_BATCH_H_
#define LIGHTCAP_CLI_BATCH_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

#include "engine/text/status_line.h"

namespace lightcap::internal::cli {

// The output about one picture, once it is done.
struct Line {
  std::string out, err;  // for stdout and stderr, line ends included
  bool failed = false;
};

// work(job, i) for every i in [0, count), with up to `jobs` at a time, each job one after the
// other; print(line) on the calling thread, in the order of i, each as soon as all before it are
// done. With one job everything runs on the calling thread; where the system refuses threads, there
// are fewer jobs and a warning. The first exception ends it all and is thrown on.
void run_in_order(size_t count, size_t jobs,
                  const std::function<Line(size_t job, size_t index)>& work,
                  const std::function<void(const Line&)>& print);

// A bar on a terminal's last line with rate and time left, for as long as there is more than one
// thing to do and stderr is a terminal; else nothing.
class ProgressBar {
 public:
  explicit ProgressBar(size_t count) : count_(count) {}

  // The text after `seconds`; at most 76 columns for up to a million things.
  static std::string text(size_t done, size_t count, double seconds);

  void show(size_t done);
  // Before something else is written.
  void hide() { line_.hide(); }

 private:
  const size_t count_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  size_t widest_ = 0;
  StatusLine line_;
};

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_BATCH_H_
