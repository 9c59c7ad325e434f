// The target of notices: a function with its context, which any thread may replace at any time.
#ifndef LIGHTCAP_API_LOG_TARGET_H_
#define LIGHTCAP_API_LOG_TARGET_H_

#include <atomic>
#include <cstdint>

#include "lightcap.h"

namespace lightcap::internal {

// A sequence lock: readers see a function and its context as they were set together, and wait for
// nobody but a writer between its two stores. Takes no memory, so that setting cannot fail.
class LogTarget {
 public:
  struct Target {
    lightcap_log_function function;
    void* context;
  };

  void set(Target target) {
    uint32_t version = version_.load();
    do {
      version &= ~uint32_t{1};  // odd while another thread writes
    } while (!version_.compare_exchange_weak(version, version + 1));
    function_.store(target.function);
    context_.store(target.context);
    version_.store(version + 2);
  }

  Target get() const {
    while (true) {
      const uint32_t version = version_.load();
      const Target target = {function_.load(), context_.load()};
      if (version % 2 == 0 && version_.load() == version) return target;
    }
  }

 private:
  std::atomic<uint32_t> version_{0};
  std::atomic<lightcap_log_function> function_{nullptr};
  std::atomic<void*> context_{nullptr};
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_API_LOG_TARGET_H_
