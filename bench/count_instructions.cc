// Runs every kernel once on the shapes of the real graph, for every instruction set that there is,
// under `valgrind --tool=callgrind --instr-atstart=no`, so that making the inputs takes no time:
// each run's instructions are dumped under KERNEL/ISA/SHAPE. Counts don't depend on what else the
// machine does, nor on which one it is, with LD_BIND_NOW set. instructions.py reads them.
#include <valgrind/callgrind.h>

#include <memory>
#include <string>

#include "kernels/dispatch.h"
#include "tests/kernels/kernel_case.h"

int main() {
  using namespace lightcap::internal;
  for (size_t i = 0; i < isa_count(); ++i) {
    const IsaInfo& isa = isa_at(i);
    if (!isa_supported(isa)) continue;
    for (const testing::KernelRow& row : testing::kernel_rows()) {
      if (!row.is_in(*isa.own)) continue;  // counted for the parent
      for (const testing::CaseFactory& factory : row.cases()) {
        if (!factory.model_shape) continue;
        const std::unique_ptr<testing::KernelCase> problem = factory.make();
        const std::string name = std::string(row.name) + "/" + isa.name + "/" + factory.name;
        CALLGRIND_START_INSTRUMENTATION;
        CALLGRIND_ZERO_STATS;
        problem->run(*isa.table);
        CALLGRIND_DUMP_STATS_AT(name.c_str());
        CALLGRIND_STOP_INSTRUMENTATION;
      }
    }
  }
  return 0;
}
