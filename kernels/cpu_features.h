// What this CPU and its operating system support.
#ifndef LIGHTCAP_KERNELS_CPU_FEATURES_H_
#define LIGHTCAP_KERNELS_CPU_FEATURES_H_

#include <cstdint>

namespace lightcap {

// A set, not a ranking: a CPU may have any of them without the others. A feature has the name of
// the compiler's flag: kAvx512bw is what code compiled with -mavx512bw needs. Each includes that
// the operating system saves the registers that it works on.
enum CpuFeature : uint32_t {
  kAvx2 = 1u << 0,
  kFma = 1u << 1,
  kF16c = 1u << 2,  // conversions from and to half floats
  kAvx512f = 1u << 3,
  kAvx512cd = 1u << 4,
  kAvx512dq = 1u << 5,
  kAvx512bw = 1u << 6,
  kAvx512vl = 1u << 7,
};

uint32_t detect_cpu_features() noexcept;

}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_CPU_FEATURES_H_
