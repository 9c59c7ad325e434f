#include "weights_converter/program.h"

#include <cstdio>
#include <iostream>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "engine/text/run_program.h"
#include "weights_converter/signals.h"

namespace lightcap::internal {
void Progress::operator()(uint64_t done) {
  if (run_.seconds() < 1 || total_ == 0) return;
  char text[64];
  std::snprintf(text, sizeof text, "%s %3d%%", what_,
                static_cast<int>(100.0 * static_cast<double>(done) / static_cast<double>(total_)));
  line_.show(text);
}

bool parse_arguments(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::Success& help) {
    app.exit(help, std::cout, std::cerr);
    print_output("", "help");
    return false;
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorCode::kUsage, printable(error.what()) + "; see --help");
  }
}

void print_output(const std::string& text, const char* what) {
  std::cout << text << std::flush;
  if (!std::cout) {
    throw Error(ErrorCode::kOutput, std::string("the ") + what + " could not be written to stdout");
  }
}

int run_work(const std::function<void()>& work) {
  const auto report = [](const std::string& message) {
    std::fprintf(stderr, LIGHTCAP_PROGRAM ": %s\n", printable_lines(message).c_str());
  };
  handle_signals();
  return run_program(LIGHTCAP_PROGRAM, report, [&] {
    work();
    return 0;
  });
}

}  // namespace lightcap::internal
