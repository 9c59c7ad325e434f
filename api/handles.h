// The handles that the C API gives out, and the border that its functions share: arguments are
// checked behind it, and no exception crosses it.
#ifndef LIGHTCAP_API_HANDLES_H_
#define LIGHTCAP_API_HANDLES_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/runtime/error.h"
#include "engine/runtime/float_environment.h"
#include "lightcap.h"
#include "models/lightcap.h"
#include "models/required_words.h"
#include "models/trace.h"

struct lightcap_model {
  std::shared_ptr<const lightcap::internal::Model> model;
};

// A flag that any thread may raise; signal handlers may, since it takes no lock.
struct lightcap_cancel {
  std::atomic<int> raised{0};
};
static_assert(std::atomic<int>::is_always_lock_free);

struct lightcap_constraints {
  lightcap::internal::RequiredWords words;
};

namespace lightcap::internal {

// A host's function with its context.
struct StageTarget {
  lightcap_stage_function function = nullptr;
  void* context = nullptr;
};

}  // namespace lightcap::internal

struct lightcap_session {
  lightcap_session(std::shared_ptr<const lightcap::internal::Model> model,
                   const lightcap::internal::SessionOptions& options);

  lightcap::internal::Session session;
  lightcap::internal::TraceFunction trace;  // may be empty
  lightcap::internal::StageTarget stage;
  // this_process() of the caption under way, 0 while there is none.
  std::atomic<uint64_t> captioning{0};

  // The arrays of its results, which it has room for from the beginning.
  std::vector<lightcap_concept> concepts;
  std::vector<lightcap_hypothesis> hypotheses;
  std::vector<float> embedding;  // [channels]
  std::string partial_text;      // a caption under way
  bool has_features = false;     // of its last caption
};

namespace lightcap::internal {

// Keeps the message as the thread's last error. Takes no memory.
lightcap_status fail(ErrorCode code, const char* message);

// Runs the body of an API function. No exception leaves, and the caller's rounding mode stays
// outside.
template <class F>
lightcap_status guarded(F&& body) noexcept {
  const DefaultFloatEnvironment environment;
  try {
    body();
    return LIGHTCAP_OK;
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kMemory, "out of memory");
  } catch (const std::length_error&) {  // more than any memory has room for
    return fail(ErrorCode::kMemory, "out of memory");
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, error.what());
  } catch (...) {
    return fail(ErrorCode::kInternal, "an unknown exception");
  }
}

[[noreturn]] inline void usage(const std::string& what) { throw Error(ErrorCode::kUsage, what); }

template <class T>
T& required(T* pointer, const char* name) {
  if (pointer == nullptr) usage(std::string(name) + " is NULL");
  return *pointer;
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_API_HANDLES_H_
