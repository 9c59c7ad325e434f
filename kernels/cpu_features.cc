// Compiled without any -m flag: this code decides whether those may be used.
#include "kernels/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lightcap::internal {

#if defined(__x86_64__)
namespace {

bool bit(unsigned word, int index) { return ((word >> index) & 1u) != 0; }

// XCR0 tells which register files the OS saves on a context switch. The instruction is written as
// asm because the compiler's intrinsic asks for -mxsave.
uint64_t read_xcr0() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

enum Register { kEax, kEbx, kEcx, kEdx };

// Bits of XCR0.
constexpr uint64_t kYmm = 0x6;   // xmm and ymm
constexpr uint64_t kZmm = 0xe6;  // also opmask, the upper halves of zmm0..15, and zmm16..31

struct CpuidBit {
  unsigned leaf, subleaf;
  Register word;
  int index;
  uint64_t state;
  uint32_t feature;
};
constexpr CpuidBit kCpuidBits[] = {
#define LIGHTCAP_X86_FEATURE(name, leaf, subleaf, word, index, state) \
  {leaf, subleaf, word, index, state, name},
#include "kernels/isa.def"
};

// One register of a CPUID leaf; 0 where the CPU has no such leaf.
unsigned cpuid(unsigned leaf, unsigned subleaf, Register word) {
  unsigned words[4] = {};
  __get_cpuid_count(leaf, subleaf, &words[kEax], &words[kEbx], &words[kEcx], &words[kEdx]);
  return words[word];
}

}  // namespace

uint32_t detect_cpu_features() noexcept {
  constexpr int kOsxsave = 27;
  if (!bit(cpuid(1, 0, kEcx), kOsxsave)) return 0;
  const uint64_t saved = read_xcr0();
  uint32_t features = 0;
  for (const CpuidBit& known : kCpuidBits) {
    const bool has = bit(cpuid(known.leaf, known.subleaf, known.word), known.index);
    if (has && (saved & known.state) == known.state) features |= known.feature;
  }
  return features;
}
#elif defined(__aarch64__) && defined(__linux__)
// The C library's function for what the kernel told a process when it started. It is declared here
// because kernels include no system's header; the two words and their bits are Linux's ABI.
extern "C" unsigned long getauxval(unsigned long type);

uint32_t detect_cpu_features() noexcept {
  constexpr unsigned long kHwcap = 16, kHwcap2 = 26;
  uint32_t features = 0;
#define LIGHTCAP_ARM_FEATURE(name, word, bit) \
  if (((getauxval(word) >> bit) & 1) != 0) features |= name;
#include "kernels/isa.def"
  return features;
}
#else
// NEON is part of AArch64's baseline, and how other systems report more is not known here.
uint32_t detect_cpu_features() noexcept { return 0; }
#endif

}  // namespace lightcap::internal
