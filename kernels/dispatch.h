// The kernel tables that are built in, and the one to use on this CPU.
#ifndef LIGHTCAP_KERNELS_DISPATCH_H_
#define LIGHTCAP_KERNELS_DISPATCH_H_

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace lightcap::internal {

struct IsaInfo {
  const char* name;          // as in isa.def: "avx2"
  uint32_t features;         // CpuFeature bits needed
  const KernelTable* own;    // never null; an entry is null where the row has its parent's kernel
  const KernelTable* table;  // never null, and no entry is
};

// The rows of isa.def for this machine's architecture, plainest first.
size_t isa_count() noexcept;
const IsaInfo& isa_at(size_t index) noexcept;
// True if the CPU and the operating system support it.
bool isa_supported(const IsaInfo& isa) noexcept;

// Each kernel from the row that isa.def's rule gives it on this CPU. Its name is that of the row
// where all are one row's table, else of those that it is made of.
const KernelTable& best_kernels() noexcept;
// The table of the row `name`, or best_kernels() by the name that it has; null where the name is
// unknown or the instruction set is not supported here.
const KernelTable* find_kernels(const char* name) noexcept;

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_DISPATCH_H_
