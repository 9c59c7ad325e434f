// Which kernel tables are built in, and which one to use here.
#ifndef LIGHTCAP_KERNELS_DISPATCH_H_
#define LIGHTCAP_KERNELS_DISPATCH_H_

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace lightcap {

struct IsaInfo {
  const char* name;          // as in isa.def: "avx2"
  uint32_t features;         // CpuFeature bits needed
  const KernelTable* table;  // never null: only what is built in is listed
};

// Built for this machine's architecture, plainest first.
size_t isa_count() noexcept;
const IsaInfo& isa_at(size_t index) noexcept;
// Whether the CPU and the operating system support it.
bool isa_supported(const IsaInfo& isa) noexcept;

// The last supported one of the list.
const KernelTable& best_kernels() noexcept;
// By name; null where the name is unknown or the instruction set is not supported here.
const KernelTable* find_kernels(const char* name) noexcept;

}  // namespace lightcap

#endif  // LIGHTCAP_KERNELS_DISPATCH_H_
