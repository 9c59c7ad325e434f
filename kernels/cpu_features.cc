// Compiled without any -m flag: this code decides whether those may be used.
#include "kernels/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstddef>
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

struct FeatureBit {
  int index;
  uint32_t feature;
};
constexpr FeatureBit kLeaf1Ecx[] = {{12, kFma}, {29, kF16c}};
constexpr FeatureBit kLeaf7EbxYmm[] = {{5, kAvx2}};
constexpr FeatureBit kLeaf7EbxZmm[] = {
    {16, kAvx512f}, {17, kAvx512dq}, {28, kAvx512cd}, {30, kAvx512bw}, {31, kAvx512vl}};

template <size_t kCount>
uint32_t features_in(unsigned word, const FeatureBit (&bits)[kCount]) {
  uint32_t features = 0;
  for (const FeatureBit& known : bits) {
    if (bit(word, known.index)) features |= known.feature;
  }
  return features;
}

}  // namespace

uint32_t detect_cpu_features() noexcept {
  constexpr int kOsxsave = 27;
  constexpr uint64_t kYmmState = 0x6;   // xmm and ymm
  constexpr uint64_t kZmmState = 0xe6;  // and opmask, upper zmm halves, zmm16..31
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || !bit(ecx, kOsxsave)) return 0;
  const uint64_t xcr0 = read_xcr0();
  if ((xcr0 & kYmmState) != kYmmState) return 0;
  uint32_t features = features_in(ecx, kLeaf1Ecx);
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return features;
  features |= features_in(ebx, kLeaf7EbxYmm);
  if ((xcr0 & kZmmState) == kZmmState) features |= features_in(ebx, kLeaf7EbxZmm);
  return features;
}
#else
// AArch64 has NEON by definition.
uint32_t detect_cpu_features() noexcept { return 0; }
#endif

}  // namespace lightcap
