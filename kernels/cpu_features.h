// What this CPU and its operating system support.
#ifndef LIGHTCAP_KERNELS_CPU_FEATURES_H_
#define LIGHTCAP_KERNELS_CPU_FEATURES_H_

#include <cstdint>

namespace lightcap {

// A set, not a ranking: a CPU may have any of them without the others.
enum CpuFeature : uint32_t {
  kAvx2 = 1u << 0,    // AVX2, and the OS saves ymm registers
  kFma = 1u << 1,     // FMA3
  kF16c = 1u << 2,    // conversions from and to half floats
  kAvx512 = 1u << 3,  // AVX-512 F, DQ, BW, VL, and the OS saves zmm and mask registers
};

uint32_t detect_cpu_features() noexcept;

}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_CPU_FEATURES_H_
