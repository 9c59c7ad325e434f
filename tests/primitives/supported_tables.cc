#include <vector>

#include "kernels/dispatch.h"
#include "tests/primitives/primitive_table.h"

#if defined(__x86_64__)
#define LIGHTCAP_IF_x86_64(...) __VA_ARGS__
#define LIGHTCAP_IF_aarch64(...)
#else
#define LIGHTCAP_IF_x86_64(...)
#define LIGHTCAP_IF_aarch64(...) __VA_ARGS__
#endif

namespace lightcap::internal {

// The tables that table.cc defines, once for each row.
namespace primitives {
#define LIGHTCAP_ISA(name, machine, ...) \
  LIGHTCAP_IF_##machine(extern const testing::PrimitiveTable name;)
#include "kernels/isa.def"
}  // namespace primitives

namespace testing {

std::vector<const PrimitiveTable*> supported_tables() {
  const PrimitiveTable* all[] = {
#define LIGHTCAP_ISA(name, machine, ...) LIGHTCAP_IF_##machine(&primitives::name, )
#include "kernels/isa.def"
  };
  std::vector<const PrimitiveTable*> tables;
  for (const PrimitiveTable* table : all) {
    if (find_kernels(table->isa) != nullptr) tables.push_back(table);
  }
  return tables;
}

}  // namespace testing
}  // namespace lightcap::internal
