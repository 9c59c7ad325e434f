// Ending a run of the graph from outside.
#ifndef LIGHTCAP_ENGINE_RUNTIME_INTERRUPTION_H_
#define LIGHTCAP_ENGINE_RUNTIME_INTERRUPTION_H_

#include <atomic>
#include <chrono>
#include <optional>

#include "engine/runtime/error.h"

namespace lightcap::internal {

// A flag that any thread may raise and a point in time, asked between the tasks of an operation and
// between the rows of a picture: these take well under a millisecond each. Whoever sees that the
// run is to end leaves out its work; since requested() stays true from then on, the next check()
// throws before anybody looks at what is missing.
class Interruption {
 public:
  using Clock = std::chrono::steady_clock;
  struct Request {
    const std::atomic<int>* flag = nullptr;   // ends the run where it is not 0; may be null
    std::optional<Clock::time_point> moment;  // ends the run then
  };

  // For the run that comes next, on the thread that begins it.
  void expect(const Request& request) {
    request_ = request;
    is_expected_ = request.flag != nullptr || request.moment.has_value();
    reason_.store(Reason::kNone, std::memory_order_relaxed);
  }

  // False while nobody can interrupt the run, which makes the others cheap.
  bool is_expected() const { return is_expected_; }

  // Safe on several threads.
  bool requested() const noexcept {
    if (!is_expected_) return false;
    if (reason_.load(std::memory_order_relaxed) != Reason::kNone) return true;
    if (request_.flag != nullptr && request_.flag->load(std::memory_order_relaxed) != 0)
      reason_.store(Reason::kFlag, std::memory_order_relaxed);
    else if (request_.moment.has_value() && Clock::now() >= *request_.moment)
      reason_.store(Reason::kMoment, std::memory_order_relaxed);
    else
      return false;
    return true;
  }

  // Throws Error(kCancelled) once the run is to end.
  void check() const {
    if (!requested()) return;
    throw Error(ErrorCode::kCancelled, reason_.load(std::memory_order_relaxed) == Reason::kMoment
                                           ? "the deadline has passed"
                                           : "cancelled by the host");
  }

 private:
  enum class Reason { kNone, kFlag, kMoment };

  Request request_;
  bool is_expected_ = false;
  mutable std::atomic<Reason> reason_{Reason::kNone};
};

// For code that may have none.
inline void check_interruption(const Interruption* interruption) {
  if (interruption != nullptr) interruption->check();
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_INTERRUPTION_H_
