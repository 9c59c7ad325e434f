// The instruction set extensions that this CPU and its operating system support.
#ifndef LIGHTCAP_KERNELS_CPU_FEATURES_H_
#define LIGHTCAP_KERNELS_CPU_FEATURES_H_

#include <cstdint>

namespace lightcap::internal {

// The rows of isa.def, numbered.
enum CpuFeatureIndex : int {
#define LIGHTCAP_X86_FEATURE(name, leaf, subleaf, word, bit, state) name##Index,
#define LIGHTCAP_ARM_FEATURE(name, word, bit) name##Index,
#include "kernels/isa.def"
  kCpuFeatureCount
};
static_assert(kCpuFeatureCount <= 32, "feature sets are 32 bits");

// Bits of a set, not a ranking: a CPU may have any of them without the others. A feature is
// reported only where the operating system saves the registers that its instructions work on.
enum CpuFeature : uint32_t {
#define LIGHTCAP_X86_FEATURE(name, leaf, subleaf, word, bit, state) name = 1u << name##Index,
#define LIGHTCAP_ARM_FEATURE(name, word, bit) name = 1u << name##Index,
#include "kernels/isa.def"
};

// The features of the CPU that this runs on, as CpuFeature bits.
uint32_t detect_cpu_features() noexcept;

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_CPU_FEATURES_H_
