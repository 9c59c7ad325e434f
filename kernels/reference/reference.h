// Plain C++ with double accumulation, one loop per index: what the kernels are tested against. No
// part of the library.
#ifndef LIGHTCAP_KERNELS_REFERENCE_REFERENCE_H_
#define LIGHTCAP_KERNELS_REFERENCE_REFERENCE_H_

#include "kernels/kernels.h"

namespace lightcap::internal::reference {

#define LIGHTCAP_KERNEL(name, Args) void name(const Args& args);
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL

}  // namespace lightcap::internal::reference

#endif  // LIGHTCAP_KERNELS_REFERENCE_REFERENCE_H_
