// The frame of a command-line program around its work: what its main() shares with others'.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_PROGRAM_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_PROGRAM_H_

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "engine/text/status_line.h"

namespace lightcap::internal {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

// A part of the work, on a terminal's last line, once the run takes longer than a second.
class Progress {
 public:
  Progress(const char* what, uint64_t total, const Stopwatch& run)
      : what_(what), total_(total), run_(run) {}

  void operator()(uint64_t done);

 private:
  const char* what_;
  uint64_t total_;
  const Stopwatch& run_;
  StatusLine line_;
};

// Parses the command line. Returns false where that asked for help, which is printed then. Throws
// Error(kUsage), and Error(kOutput) where the help did not arrive.
bool parse_arguments(CLI::App& app, int argc, char** argv);
// Prints to stdout; throws Error(kOutput) that names `what` where it did not arrive.
void print_output(const std::string& text, const char* what);

// Runs the work of this program after handle_signals(), and returns the exit code; what it throws
// becomes words on stderr, from which nothing that a terminal would obey is left.
int run_work(const std::function<void()>& work);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_PROGRAM_H_
