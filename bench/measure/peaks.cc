#include "bench/measure/peaks.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <vector>

#include "engine/platform/platform.h"
#include "engine/runtime/block.h"
#include "kernels/pack.h"

namespace lightcap::internal::bench {
namespace {

constexpr int kTrials = 7;
constexpr size_t kTasksPerThread = 8;  // late threads leave work to the others
constexpr double kTaskSeconds = 1e-3;
constexpr size_t kStreamBytes = size_t{128} << 20;

// A product of one register tile of the kernels by two panels, whose operands stay in a level 1
// cache of 32 KiB. It is deep, so that what a call does beside multiply-adds hardly counts.
struct TileProduct {
  static constexpr size_t kColumns = 2 * kPanelWidth, kDepth = 160;
  size_t rows;
  Block memory;
  GemmArgs args;

  explicit TileProduct(const KernelTable& kernels)
      : rows(kernels.tile_rows),
        memory(allocate_block((panel_elements(kColumns, kDepth) + rows * (kDepth + kColumns)) *
                              sizeof(float))) {
    float* const panels = static_cast<float*>(memory.get());
    float* const a = panels + panel_elements(kColumns, kDepth);
    std::fill(panels, a + rows * kDepth, 0.5f);
    args = {.a = a,
            .a_stride = kDepth,
            .weights = {panels, kColumns, kDepth, DataType::kF32},
            .c = a + rows * kDepth,
            .c_stride = kColumns,
            .rows = rows,
            .epilogue = {}};
  }
  void run(const KernelTable& kernels) const { kernels.gemm(args); }
  double operations() const { return 2.0 * static_cast<double>(rows * kColumns * kDepth); }
};

// The same tile with quads of bytes in the place of floats, four times as deep.
struct IntegerTileProduct {
  static constexpr size_t kColumns = TileProduct::kColumns, kDepth = kQuad * TileProduct::kDepth;
  size_t rows;
  Block memory;
  std::vector<float> scales;
  std::vector<int32_t> bias;
  IntegerGemmArgs args;

  explicit IntegerTileProduct(const KernelTable& kernels)
      : rows(kernels.tile_rows),
        memory(allocate_block(panel_elements(kColumns, kDepth, DataType::kI8) +
                              rows * (kDepth + kColumns))),
        scales(kColumns, 1e-4f),
        bias(kColumns) {
    auto* const panels = static_cast<uint8_t*>(memory.get());
    uint8_t* const a = panels + panel_elements(kColumns, kDepth, DataType::kI8);
    std::fill(panels, a + rows * kDepth, uint8_t{1});
    args = {.a = a,
            .a_stride = kDepth,
            .weights = {panels, kColumns, kDepth, DataType::kI8, scales.data(), bias.data()},
            .c = {.bytes = a + rows * kDepth},
            .c_stride = kColumns,
            .rows = rows,
            .epilogue = {.bias = bias.data()}};
  }
  void run(const KernelTable& kernels) const { kernels.integer_gemm(args); }
  double operations() const { return 2.0 * static_cast<double>(rows * kColumns * kDepth); }
};

// Results that nobody needs go here, so that they are computed.
std::atomic<uint64_t> sink{0};
void use(uint64_t value) { sink.fetch_add(value, std::memory_order_relaxed); }

// All threads' rate, at best of some runs of `tasks` tasks that do `amount` each.
template <class F>
double best_rate(ThreadPool& pool, size_t tasks, double amount, F&& task) {
  double best = 0;
  std::vector<double> seconds(tasks);
  for (int trial = 0; trial < kTrials; ++trial) {
    pool.parallel_for(tasks, [&](size_t i) {
      const double start = platform::thread_seconds();
      task(i);
      seconds[i] = platform::thread_seconds() - start;
    });
    const double total = std::accumulate(seconds.begin(), seconds.end(), 0.0);
    best = std::max(best, amount * static_cast<double>(tasks) / total);
  }
  return best * pool.threads();
}

// The rate at which all threads together multiply such products.
template <class Product>
double measure_peak(const KernelTable& kernels, ThreadPool& pool) {
  const size_t tasks = kTasksPerThread * static_cast<size_t>(pool.threads());
  std::vector<Product> products;
  products.reserve(tasks);
  for (size_t i = 0; i < tasks; ++i) products.emplace_back(kernels);
  const auto multiply = [&](size_t task, size_t rounds) {
    for (size_t round = 0; round < rounds; ++round) products[task].run(kernels);
  };
  size_t rounds = 8;
  for (;; rounds *= 2) {
    const double start = platform::thread_seconds();
    multiply(0, rounds);
    if (platform::thread_seconds() - start >= kTaskSeconds) break;
  }
  return best_rate(pool, tasks, products[0].operations() * static_cast<double>(rounds),
                   [&](size_t task) { multiply(task, rounds); });
}

}  // namespace

double measure_peak_flops(const KernelTable& kernels, ThreadPool& pool) {
  return measure_peak<TileProduct>(kernels, pool);
}

double measure_peak_integer_ops(const KernelTable& kernels, ThreadPool& pool) {
  return measure_peak<IntegerTileProduct>(kernels, pool);
}

// Several streams at once, from huge pages, as a caption's weights are read. One stream, or small
// pages, would show less than the memory's rate.
double measure_peak_bytes(ThreadPool& pool) {
  constexpr size_t kStreams = 4;
  const Block block = allocate_block(kStreamBytes);
  auto* words = static_cast<uint64_t*>(block.get());
  std::fill_n(words, kStreamBytes / sizeof(uint64_t), 1);
  const size_t tasks = kTasksPerThread * static_cast<size_t>(pool.threads());
  const size_t share = kStreamBytes / sizeof(uint64_t) / tasks / kStreams;
  const double bytes = static_cast<double>(share * kStreams * sizeof(uint64_t));
  return best_rate(pool, tasks, bytes, [&](size_t task) {
    uint64_t sums[kStreams] = {};
    const uint64_t* begin = words + task * share * kStreams;
    for (size_t i = 0; i < share; ++i) {
      for (size_t s = 0; s < kStreams; ++s) sums[s] += begin[s * share + i];
    }
    for (const uint64_t sum : sums) use(sum);
  });
}

}  // namespace lightcap::internal::bench
