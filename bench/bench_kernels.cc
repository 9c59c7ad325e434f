// Times kernels, for every instruction set of this CPU, on one thread. Benchmarks are called
//   KERNEL/ISA/SHAPE
//     every kernel of kernels.def alone, on shapes of its own cases
//   layer/ISA/STAGE/NAME/KERNEL/SHAPE
//     every convolution and product of bench/shapes, as the graph runs it; what Winograd's
//     filtering does, direct convolution does as well, and `int8` what int8 models do
// Between runs the caches are cold, as they are for weights in inference: a run does not find the
// previous run's weights there. Peaks are measured first, with loops that do nothing else: the
// roofline of a layer is what they allow its arithmetic and its bytes.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/integer_layers.h"
#include "bench/layers.h"
#include "bench/measure/peaks.h"
#include "kernels/dispatch.h"
#include "tests/kernels/kernel_case.h"

namespace lightcap::internal::bench {
namespace {

using benchmark::Counter;
using testing::CaseFactory;
using testing::KernelCase;
using testing::KernelRow;

// More than any last-level cache slice a core can expect to keep.
constexpr double kColdBytes = 48.0 * 1024 * 1024;
constexpr size_t kMaxCopies = 64;

// Measured once each, when first asked for.
Peaks peaks_of(const IsaInfo& isa) {
  static ThreadPool pool(1);
  static const double bytes = measure_peak_bytes(pool);
  static std::map<std::string, Peaks> peaks;
  const auto [at, is_new] = peaks.try_emplace(isa.name);
  if (is_new) {
    at->second = {measure_peak_flops(*isa.table, pool), measure_peak_integer_ops(*isa.table, pool),
                  bytes};
  }
  return at->second;
}

// `peak` is the machine's rate of the operations of which there are `flops`.
void count(benchmark::State& state, double flops, double bytes, double peak, const Peaks& peaks) {
  const auto rate = [](double amount) {
    return Counter(amount, Counter::kIsIterationInvariantRate);
  };
  state.counters["flops"] = flops;
  state.counters["bytes"] = bytes;
  state.counters["GFLOP/s"] = rate(flops / 1e9);
  state.counters["GB/s"] = rate(bytes / 1e9);
  if (flops == 0) return;
  const double roofline = std::min(peak, flops / bytes * peaks.bytes);
  state.counters["roofline_GFLOP/s"] = roofline / 1e9;
  state.counters["%peak"] = rate(100 * flops / peak);
  state.counters["%roofline"] = rate(100 * flops / roofline);
}

void bench_case(benchmark::State& state, const CaseFactory& factory, const IsaInfo& isa) {
  const Peaks peaks = peaks_of(isa);
  std::vector<std::unique_ptr<KernelCase>> copies;
  copies.push_back(factory.make());
  const double bytes = copies[0]->bytes();
  const double flops = copies[0]->flops();
  while (static_cast<double>(copies.size()) * bytes < kColdBytes && copies.size() < kMaxCopies) {
    copies.push_back(factory.make());
  }
  size_t next = 0;
  for (auto _ : state) {
    copies[next]->run(*isa.table);
    next = (next + 1) % copies.size();
    benchmark::ClobberMemory();
  }
  count(state, flops, bytes, copies[0]->multiplies_integers() ? peaks.integer_ops : peaks.flops,
        peaks);
}

// encoder/image_encoder.conv2/winograd4/112x112x32-32
std::string name_of(const LayerShape& shape, const std::string& kernel) {
  const auto number = [](size_t value) { return std::to_string(value); };
  return shape.stage + "/" + shape.name + "/" + kernel + "/" + number(shape.height) + "x" +
         number(shape.width) + "x" + number(shape.channels) + "-" + number(shape.out);
}

void bench_layer(benchmark::State& state, const LayerShape& shape, const std::string& kernel,
                 const IsaInfo& isa) {
  const Peaks peaks = peaks_of(isa);
  // The library calls this several times a benchmark, to find how many runs it takes; making the
  // problem takes longer than they do.
  static std::unique_ptr<LayerProblem> problem;
  static std::string made_for;
  static double error;
  const std::string wanted = name_of(shape, kernel);
  if (made_for != wanted) {
    problem.reset();
    problem = std::make_unique<LayerProblem>(shape, kernel);
    made_for = wanted;
    error = problem->winograd_error(*isa.table);
  }
  for (auto _ : state) {
    problem->run(*isa.table);
    benchmark::ClobberMemory();
  }
  count(state, problem->flops(), problem->bytes(), peaks.flops, peaks);
  if (error != 0) state.counters["error/rms"] = error;  // against direct convolution
}

void bench_integer_layer(benchmark::State& state, const LayerShape& shape, const IsaInfo& isa) {
  const Peaks peaks = peaks_of(isa);
  static std::unique_ptr<IntegerLayerProblem> problem;
  static std::string made_for;
  const std::string wanted = name_of(shape, "int8");
  if (made_for != wanted) {
    problem.reset();
    problem = std::make_unique<IntegerLayerProblem>(shape);
    made_for = wanted;
  }
  for (auto _ : state) {
    problem->run(*isa.table);
    benchmark::ClobberMemory();
  }
  count(state, problem->operations(), problem->bytes(), peaks.integer_ops, peaks);
}

void register_cases(const IsaInfo& isa) {
  for (const KernelRow& row : testing::kernel_rows()) {
    if (!row.is_in(*isa.own)) continue;  // the parent's kernel is timed under the parent's name
    for (const CaseFactory& factory : row.cases()) {
      if (!factory.model_shape) continue;
      const std::string name = std::string(row.name) + "/" + isa.name + "/" + factory.name;
      benchmark::RegisterBenchmark(name.c_str(), [factory, &isa](benchmark::State& state) {
        bench_case(state, factory, isa);
      });
    }
  }
}

void register_layer(const LayerShape& shape, const std::string& kernel, const IsaInfo& isa) {
  const std::string name = std::string("layer/") + isa.name + "/" + name_of(shape, kernel);
  benchmark::RegisterBenchmark(name.c_str(), [shape, kernel, &isa](benchmark::State& state) {
    bench_layer(state, shape, kernel, isa);
  });
}

void register_integer_layer(const LayerShape& shape, const IsaInfo& isa) {
  const std::string name = std::string("layer/") + isa.name + "/" + name_of(shape, "int8");
  benchmark::RegisterBenchmark(name.c_str(), [shape, &isa](benchmark::State& state) {
    bench_integer_layer(state, shape, isa);
  });
}

void register_all() {
  const std::vector<LayerShape> shapes = read_layer_shapes(LIGHTCAP_SHAPES);
  for (size_t i = 0; i < isa_count(); ++i) {
    const IsaInfo& isa = isa_at(i);
    if (!isa_supported(isa)) continue;
    register_cases(isa);
    for (const LayerShape& shape : shapes) {
      if (!LayerProblem::handles(shape.kernel)) continue;
      if (IntegerLayerProblem::handles(shape)) register_integer_layer(shape, isa);
      if (isa.own->gemm == nullptr) continue;  // floats are timed under the parent's name
      register_layer(shape, shape.kernel, isa);
      if (shape.kernel.starts_with("winograd")) register_layer(shape, "conv", isa);
    }
    const Peaks peaks = peaks_of(isa);
    benchmark::AddCustomContext(std::string("peak_gflop_s_") + isa.name,
                                std::to_string(peaks.flops / 1e9));
    benchmark::AddCustomContext(std::string("peak_integer_gop_s_") + isa.name,
                                std::to_string(peaks.integer_ops / 1e9));
    if (i == 0) benchmark::AddCustomContext("peak_gb_s", std::to_string(peaks.bytes / 1e9));
  }
}

}  // namespace
}  // namespace lightcap::internal::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  lightcap::internal::testing::GuardedFloats::leave_unfenced();
  lightcap::internal::bench::register_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
