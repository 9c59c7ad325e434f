// Memory and time that one input of a fuzz target may take. Put a guard at the beginning of the
// target and it holds until the target returns:
//
//   extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
//     const lightcap::internal::fuzz::InputLimits limits(size, 4 << 20, 40, 2.0);
//     ...
//   }
//
// allows that input 4 MiB and 40 bytes for each of its own, held at once by malloc and operator
// new, and 2 seconds of CPU time. Beyond that it aborts with a message, which libFuzzer takes for a
// crash and keeps the input. An input that never returns is for libFuzzer's -timeout.
#ifndef LIGHTCAP_TESTS_FUZZ_LIMITS_H_
#define LIGHTCAP_TESTS_FUZZ_LIMITS_H_

#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace lightcap::internal::fuzz {

// Measurements over all inputs together. One per process, because allocations have no owner.
class Meter {
 public:
  static Meter& instance() {
    static Meter meter;
    return meter;
  }

  void begin(uint64_t size, uint64_t most_bytes) {
    size_ = size;
    most_bytes_ = static_cast<int64_t>(std::min<uint64_t>(most_bytes, INT64_MAX));
    held_ = 0;
    peak_ = 0;
    began_ = std::clock();
    on_ = true;
  }
  void end(double most_seconds) {
    on_ = false;
    const double seconds = static_cast<double>(std::clock() - began_) / CLOCKS_PER_SEC;
    highest_ = std::max<int64_t>(highest_, peak_);
    slowest_ = std::max(slowest_, seconds);
    if (seconds <= most_seconds) return;
    std::fprintf(stderr, "limits: an input of %llu bytes took %.2f s, more than %.2f\n",
                 static_cast<unsigned long long>(size_), seconds, most_seconds);
    std::abort();
  }

 private:
  Meter() { __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free); }
  ~Meter() {
    on_ = false;
    std::fprintf(stderr,
                 "limits: the most that an input held is %lld KiB, the slowest took %.3f s\n",
                 static_cast<long long>(highest_ >> 10), slowest_);
  }

  // The hooks run inside the allocator: they must not allocate before `on_` is off.
  static void on_malloc(const volatile void*, size_t bytes) {
    Meter& meter = instance();
    if (!meter.on_) return;
    const int64_t held = meter.held_ += static_cast<int64_t>(bytes);
    if (held > meter.peak_) meter.peak_ = held;
    if (held <= meter.most_bytes_) return;
    meter.on_ = false;
    std::fprintf(stderr, "limits: an input of %llu bytes holds %lld bytes, more than %lld\n",
                 static_cast<unsigned long long>(meter.size_), static_cast<long long>(held),
                 static_cast<long long>(meter.most_bytes_));
    std::abort();
  }
  // Memory that was allocated before the input began may be freed during it, so that the sum can
  // be negative.
  static void on_free(const volatile void* memory) {
    Meter& meter = instance();
    if (meter.on_ && memory != nullptr) {
      meter.held_ -=
          static_cast<int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(memory)));
    }
  }

  std::atomic<bool> on_ = false;
  std::atomic<int64_t> held_ = 0;
  std::atomic<int64_t> peak_ = 0;
  uint64_t size_ = 0;
  int64_t most_bytes_ = 0;
  std::clock_t began_ = 0;
  int64_t highest_ = 0;
  double slowest_ = 0;
};

class InputLimits {
 public:
  // `size` is the input's. `seconds` are of a sanitized build, on a machine that has other work.
  InputLimits(size_t size, size_t base_bytes, size_t factor, double seconds) : seconds_(seconds) {
    Meter::instance().begin(size, base_bytes + uint64_t{factor} * size);
  }
  ~InputLimits() { Meter::instance().end(seconds_); }
  InputLimits(const InputLimits&) = delete;
  InputLimits& operator=(const InputLimits&) = delete;

 private:
  double seconds_;
};

}  // namespace lightcap::internal::fuzz

#endif  // LIGHTCAP_TESTS_FUZZ_LIMITS_H_
