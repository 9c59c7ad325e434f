// The processor's rounding mode and its like, which belong to a thread and which a host may have
// changed.
#ifndef LIGHTCAP_ENGINE_RUNTIME_FLOAT_ENVIRONMENT_H_
#define LIGHTCAP_ENGINE_RUNTIME_FLOAT_ENVIRONMENT_H_

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

namespace lightcap::internal {

// While one lives, its thread rounds to nearest, keeps denormal numbers and traps nothing, so that
// results have the same bits whatever the caller has set. Afterwards control and flags are the
// caller's again. Takes a few nanoseconds; registers are written only where they differ.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

#if defined(__x86_64__)
  DefaultFloatEnvironment() : sse_(_mm_getcsr()) {
    asm volatile("fnstcw %0" : "=m"(x87_));
    if ((sse_ & ~kSseFlags) != kSse) _mm_setcsr(kSse);
    if (x87_ != kX87) asm volatile("fldcw %0" ::"m"(kX87));
  }
  ~DefaultFloatEnvironment() {
    if (_mm_getcsr() != sse_) _mm_setcsr(sse_);
    if (x87_ != kX87) asm volatile("fldcw %0" ::"m"(x87_));
  }

 private:
  static constexpr uint32_t kSse = 0x1f80, kSseFlags = 0x3f;
  static constexpr uint16_t kX87 = 0x037f;
  uint32_t sse_;
  uint16_t x87_ = 0;
#elif defined(__aarch64__)
  DefaultFloatEnvironment() {
    asm volatile("mrs %0, fpcr" : "=r"(control_));
    asm volatile("mrs %0, fpsr" : "=r"(flags_));
    if (control_ != 0) asm volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
  }
  ~DefaultFloatEnvironment() {
    if (control_ != 0) asm volatile("msr fpcr, %0" ::"r"(control_));
    asm volatile("msr fpsr, %0" ::"r"(flags_));
  }

 private:
  uint64_t control_ = 0, flags_ = 0;
#else
  DefaultFloatEnvironment() {
    std::fegetenv(&callers_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() { std::fesetenv(&callers_); }

 private:
  std::fenv_t callers_;
#endif
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_FLOAT_ENVIRONMENT_H_
