// How a program ends when memory runs out where C++ has no way to report it.
#ifndef LIGHTCAP_ENGINE_RUNTIME_TERMINATE_H_
#define LIGHTCAP_ENGINE_RUNTIME_TERMINATE_H_

#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

#include "engine/runtime/error.h"

namespace lightcap {

// For main() of our programs, never for the library: destructors of JSON values and of the option
// parser's take memory, and a std::bad_alloc from there calls std::terminate. That becomes the exit
// code and the words for memory; any other exception that nobody catches is a bug, and aborts.
inline void exit_when_memory_runs_out() {
  std::set_terminate([] {
    try {
      if (const std::exception_ptr exception = std::current_exception()) {
        std::rethrow_exception(exception);
      }
    } catch (const std::bad_alloc&) {
      constexpr std::string_view kWords = "out of memory\n";
      [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kWords.data(), kWords.size());
      _exit(static_cast<int>(ErrorCode::kMemory));
    } catch (...) {
    }
    std::abort();
  });
}

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_RUNTIME_TERMINATE_H_
