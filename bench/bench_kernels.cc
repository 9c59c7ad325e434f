// Times every kernel of kernels.def on the graph's own shapes, for every instruction set of this CPU.
// Between runs the caches are cold, as they are for weights in inference: the case's buffers are rotated
// so that a run does not find the previous run's data in the cache. Names are kernel/isa/shape.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/dispatch.h"
#include "tests/kernels/kernel_case.h"

namespace lightcap::testing {
namespace {

// More than any last-level cache slice a core can expect to keep.
constexpr double kColdBytes = 48.0 * 1024 * 1024;
constexpr size_t kMaxCopies = 64;

void bench_case(benchmark::State& state, const CaseFactory& factory, const KernelTable& kernels) {
  std::vector<std::unique_ptr<KernelCase>> copies;
  copies.push_back(factory.make());
  const double bytes = copies[0]->bytes();
  const double flops = copies[0]->flops();
  while (static_cast<double>(copies.size()) * bytes < kColdBytes && copies.size() < kMaxCopies) {
    copies.push_back(factory.make());
  }
  size_t next = 0;
  for (auto _ : state) {
    copies[next]->run(kernels);
    next = (next + 1) % copies.size();
    benchmark::ClobberMemory();
  }
  using benchmark::Counter;
  state.counters["FLOP/s"] = Counter(flops, Counter::kIsIterationInvariantRate);
  state.counters["B/s"] =
      Counter(bytes, Counter::kIsIterationInvariantRate, Counter::OneK::kIs1000);
}

void register_all() {
  for (const KernelRow& row : kernel_rows()) {
    for (const CaseFactory& factory : row.cases()) {
      if (!factory.model_shape) continue;
      for (size_t i = 0; i < isa_count(); ++i) {
        if (!isa_supported(isa_at(i))) continue;
        const std::string name = std::string(row.name) + "/" + isa_at(i).name + "/" + factory.name;
        const KernelTable& kernels = *isa_at(i).table;
        benchmark::RegisterBenchmark(name.c_str(), [factory, &kernels](benchmark::State& state) {
          bench_case(state, factory, kernels);
        });
      }
    }
  }
}

}  // namespace
}  // namespace lightcap::testing

int main(int argc, char** argv) {
  lightcap::testing::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
