#include "kernels/dispatch.h"

#include <cstring>

#include "kernels/built_rows.h"
#include "kernels/cpu_features.h"
#include "kernels/isa_selection.h"

namespace lightcap::internal {

// The tables that kernels/simd/table.cc defines, once for each row.
namespace isa {
#define LIGHTCAP_ISA(name, ...) LIGHTCAP_IF_##name(extern const KernelTable name;)
#include "kernels/isa.def"
}  // namespace isa

namespace {

constexpr IsaRow kRows[] = {
#define LIGHTCAP_ISA(name, machine, parent, preference, arch, features, ...) \
  LIGHTCAP_IF_##name({#name, #parent, preference, features, &isa::name}, )
#include "kernels/isa.def"
};
constexpr size_t kCount = std::size(kRows);
static_assert(problem_of(kRows) == nullptr, "isa.def breaks a rule of isa_selection.h");

uint32_t cpu_features() noexcept {
  static const uint32_t features = detect_cpu_features();
  return features;
}

// All tables, put together once.
struct Tables {
  KernelTable complete[kCount];
  IsaInfo infos[kCount];
  SelectedKernels best;

  Tables() noexcept : best(select_kernels(kRows, cpu_features())) {
    best.table.isa = best.name;
    for (size_t i = 0; i < kCount; ++i) {
      complete[i] = complete_table(kRows, i);
      infos[i] = {kRows[i].own->isa, kRows[i].features, kRows[i].own, &complete[i]};
    }
  }
};

const Tables& tables() noexcept {
  static const Tables instance;
  return instance;
}

}  // namespace

size_t isa_count() noexcept { return kCount; }

const IsaInfo& isa_at(size_t index) noexcept { return tables().infos[index]; }

bool isa_supported(const IsaInfo& isa) noexcept { return includes(cpu_features(), isa.features); }

const KernelTable& best_kernels() noexcept { return tables().best.table; }

const KernelTable* find_kernels(const char* name) noexcept {
  if (std::strcmp(best_kernels().isa, name) == 0) return &best_kernels();
  for (size_t i = 0; i < isa_count(); ++i) {
    if (std::strcmp(isa_at(i).name, name) == 0) {
      return isa_supported(isa_at(i)) ? isa_at(i).table : nullptr;
    }
  }
  return nullptr;
}

}  // namespace lightcap::internal
