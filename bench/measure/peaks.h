// This machine's peak rates, measured when asked for: the yardstick for whole layers.
#ifndef LIGHTCAP_BENCH_MEASURE_PEAKS_H_
#define LIGHTCAP_BENCH_MEASURE_PEAKS_H_

#include <cstddef>

#include "engine/runtime/thread_pool.h"
#include "kernels/kernels.h"

namespace lightcap::internal::bench {

struct Peaks {
  double flops = 0;        // fp32 operations a second; a multiply-add is two
  double integer_ops = 0;  // the same of bytes by int8 weights
  double bytes = 0;        // read from memory a second
};

// fp32 operations a second of all the pool's threads together: the rate at which `kernels`, which
// this CPU must support, multiply a register tile whose operands are in the level 1 cache. The best
// of some short runs, in the threads' own time: as if nobody else used the machine.
double measure_peak_flops(const KernelTable& kernels, ThreadPool& pool);
// The same of bytes and int8 weights, multiplied by `integer_gemm`.
double measure_peak_integer_ops(const KernelTable& kernels, ThreadPool& pool);
// Bytes a second that all threads together read from an array that fits no cache.
double measure_peak_bytes(ThreadPool& pool);
inline Peaks measure_peaks(const KernelTable& kernels, ThreadPool& pool) {
  return {measure_peak_flops(kernels, pool), measure_peak_integer_ops(kernels, pool),
          measure_peak_bytes(pool)};
}

}  // namespace lightcap::internal::bench

#endif  // LIGHTCAP_BENCH_MEASURE_PEAKS_H_
