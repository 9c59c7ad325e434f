#include "kernels/dispatch.h"

#include <cstring>

#include "kernels/cpu_features.h"

// Rows of isa.def for other machines vanish.
#if defined(__x86_64__)
#define LIGHTCAP_IF_x86_64(...) __VA_ARGS__
#define LIGHTCAP_IF_aarch64(...)
#elif defined(__aarch64__)
#define LIGHTCAP_IF_x86_64(...)
#define LIGHTCAP_IF_aarch64(...) __VA_ARGS__
#else
#error "LightCap has kernels for x86-64 and AArch64"
#endif

namespace lightcap {

// The tables that kernels/simd/table.cc defines, once for each row.
namespace isa {
#define LIGHTCAP_ISA(name, machine, arch, features, flags) \
  LIGHTCAP_IF_##machine(extern const KernelTable name;)
#include "kernels/isa.def"
#undef LIGHTCAP_ISA
}  // namespace isa

namespace {

constexpr IsaInfo kIsas[] = {
#define LIGHTCAP_ISA(name, machine, arch, features, flags) \
  LIGHTCAP_IF_##machine({#name, features, &isa::name}, )
#include "kernels/isa.def"
#undef LIGHTCAP_ISA
};

}  // namespace

size_t isa_count() noexcept { return sizeof(kIsas) / sizeof(kIsas[0]); }

const IsaInfo& isa_at(size_t index) noexcept { return kIsas[index]; }

bool isa_supported(const IsaInfo& isa) noexcept {
  static const uint32_t features = detect_cpu_features();
  return (isa.features & ~features) == 0;
}

const KernelTable& best_kernels() noexcept {
  size_t best = 0;  // the first row of each machine needs no feature
  for (size_t i = 1; i < isa_count(); ++i) {
    if (isa_supported(isa_at(i))) best = i;
  }
  return *isa_at(best).table;
}

const KernelTable* find_kernels(const char* name) noexcept {
  for (size_t i = 0; i < isa_count(); ++i) {
    if (std::strcmp(isa_at(i).name, name) == 0) {
      return isa_supported(isa_at(i)) ? isa_at(i).table : nullptr;
    }
  }
  return nullptr;
}

}  // namespace lightcap
