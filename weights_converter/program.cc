#include "weights_converter/program.h"

#include <cstdio>
#include <iostream>
#include <new>
#include <stdexcept>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "engine/text/standard_streams.h"

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

int run_program(const char* name, const std::function<void()>& work) {
  const StandardStreams streams;
  const auto report = [&](ErrorCode code, const char* what) {
    std::fprintf(stderr, "%s: %s\n", name, what);
    return static_cast<int>(code);
  };
  try {
    work();
    return 0;
  } catch (const Error& error) {
    return report(error.code(), printable_lines(error.what()).c_str());
  } catch (const std::bad_alloc&) {
    return report(ErrorCode::kMemory, "out of memory");
  } catch (const std::length_error&) {  // longer than any memory
    return report(ErrorCode::kMemory, "out of memory");
  } catch (const std::exception& error) {
    return report(ErrorCode::kInternal, printable_lines(error.what()).c_str());
  }
}

}  // namespace lightcap::internal
