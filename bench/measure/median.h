// The middle of measurements.
#ifndef LIGHTCAP_BENCH_MEASURE_MEDIAN_H_
#define LIGHTCAP_BENCH_MEASURE_MEDIAN_H_

#include <algorithm>
#include <cstddef>
#include <vector>

namespace lightcap::internal::bench {

// The mean of the two in the middle where there is an even number of values; 0 where there is none.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace lightcap::internal::bench

#endif  // LIGHTCAP_BENCH_MEASURE_MEDIAN_H_
