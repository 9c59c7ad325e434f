// What this machine can do at best, measured here and now: the yardstick for kernels.
#ifndef LIGHTCAP_CLI_PEAKS_H_
#define LIGHTCAP_CLI_PEAKS_H_

#include <cstddef>
#include <string_view>

#include "engine/runtime/thread_pool.h"

namespace lightcap {

struct Peaks {
  double flops = 0;  // fp32 operations a second; a multiply-add is two
  double bytes = 0;  // read from memory a second

  // Operations a byte from which on arithmetic takes longer than reading.
  double balance() const { return flops / bytes; }
};

// Of all the pool's threads together, with multiply-adds in registers of the instruction set `isa`
// (a name of isa.def) that this CPU must support. The best of some short runs, in the
// threads' own time: as if nobody else used the machine.
double measure_peak_flops(std::string_view isa, ThreadPool& pool);
// Reading an array that fits no cache.
double measure_peak_bytes(ThreadPool& pool);
inline Peaks measure_peaks(std::string_view isa, ThreadPool& pool) {
  return {measure_peak_flops(isa, pool), measure_peak_bytes(pool)};
}

}  // namespace lightcap

#endif  // LIGHTCAP_CLI_PEAKS_H_
