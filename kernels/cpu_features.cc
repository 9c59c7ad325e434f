// Compiled without any -m flag: this code decides whether those may be used.
#include "kernels/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lightcap {

#if defined(__x86_64__)
namespace {

bool bit(unsigned word, int index) { return ((word >> index) & 1u) != 0; }

// XCR0 tells which register files the OS saves on a context switch. Written as bytes through asm
// because the intrinsic wants -mxsave.
uint64_t read_xcr0() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

}  // namespace

uint32_t detect_cpu_features() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return 0;
  const bool osxsave = bit(ecx, 27);
  const bool fma = bit(ecx, 12);
  const bool f16c = bit(ecx, 29);
  if (!osxsave) return 0;
  constexpr uint64_t kYmmState = 0x6;   // xmm and ymm
  constexpr uint64_t kZmmState = 0xe6;  // and opmask, upper zmm halves, zmm16..31
  const uint64_t xcr0 = read_xcr0();
  if ((xcr0 & kYmmState) != kYmmState) return 0;
  uint32_t features = (fma ? kFma : 0u) | (f16c ? kF16c : 0u);
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return features;
  if (bit(ebx, 5)) features |= kAvx2;
  const bool avx512 = bit(ebx, 16) && bit(ebx, 17) && bit(ebx, 30) && bit(ebx, 31);  // F DQ BW VL
  if (avx512 && (xcr0 & kZmmState) == kZmmState) features |= kAvx512;
  return features;
}
#else
// AArch64 has NEON by definition.
uint32_t detect_cpu_features() noexcept { return 0; }
#endif

}  // namespace lightcap
