#include <vector>

#include "kernels/built_rows.h"
#include "kernels/dispatch.h"
#include "tests/primitives/primitive_table.h"

namespace lightcap::internal {

// The tables that table.cc defines, once for each row.
namespace primitives {
#define LIGHTCAP_ISA(name, ...) LIGHTCAP_IF_##name(extern const testing::PrimitiveTable name;)
#include "kernels/isa.def"
}  // namespace primitives

namespace testing {

std::vector<const PrimitiveTable*> supported_tables() {
  const PrimitiveTable* all[] = {
#define LIGHTCAP_ISA(name, ...) LIGHTCAP_IF_##name(&primitives::name, )
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
