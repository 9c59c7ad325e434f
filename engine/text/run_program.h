// The frame of a command-line program around its work: what main() of each has to do.
#ifndef LIGHTCAP_ENGINE_TEXT_RUN_PROGRAM_H_
#define LIGHTCAP_ENGINE_TEXT_RUN_PROGRAM_H_

#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>

#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "engine/text/standard_streams.h"

namespace lightcap::internal {

// Runs work(), and returns the exit code that it returns, or the code of what it throws, for which
// report(const std::string&) is called. Failures of output are errors in it, rather than a silent
// end or somebody else's damaged file.
template <class Report, class Work>
int run_program(const char* name, const Report& report, const Work& work) {
  platform::survive_file_size_limit();
  platform::hold_standard_streams();
  const StandardStreams streams;
  const auto out_of_memory = [&] {
    std::fprintf(stderr, "%s: out of memory\n", name);  // takes none
    return static_cast<int>(ErrorCode::kMemory);
  };
  try {
    return work();
  } catch (const Error& error) {
    report(error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::length_error&) {  // longer than any memory
    return out_of_memory();
  } catch (const std::exception& error) {
    report(std::string("internal error: ") + error.what());
    return static_cast<int>(ErrorCode::kInternal);
  }
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_TEXT_RUN_PROGRAM_H_
