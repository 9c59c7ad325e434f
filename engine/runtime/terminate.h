// How a program ends by an exception that nothing can catch.
#ifndef LIGHTCAP_ENGINE_RUNTIME_TERMINATE_H_
#define LIGHTCAP_ENGINE_RUNTIME_TERMINATE_H_

#include <cstdlib>
#include <exception>
#include <new>

#include "engine/platform/platform.h"
#include "engine/runtime/error.h"

namespace lightcap::internal {

struct LastWords {
  const char* out_of_memory;
  const char* unhandled = nullptr;  // of any other exception; null: it is a bug, and aborts
  void (*clean_up)() noexcept = nullptr;
};

// For our programs, never for the library: destructors of JSON values and of the option parser's
// take memory, and a std::bad_alloc from there calls std::terminate. That becomes these words on
// stderr and the exit code for memory. Allocates and throws nothing, so that it can be called
// before main().
inline void end_with_words(const LastWords& words) {
  static constinit LastWords last_words = {};
  last_words = words;
  std::set_terminate([] {
    const auto end = [](const char* text, ErrorCode code) {
      platform::print_error(text);
      if (last_words.clean_up != nullptr) last_words.clean_up();
      std::_Exit(static_cast<int>(code));
    };
    try {
      if (const std::exception_ptr exception = std::current_exception()) {
        std::rethrow_exception(exception);
      }
    } catch (const std::bad_alloc&) {
      end(last_words.out_of_memory, ErrorCode::kMemory);
    } catch (...) {
    }
    if (last_words.unhandled != nullptr) end(last_words.unhandled, ErrorCode::kInternal);
    std::abort();
  });
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_TERMINATE_H_
