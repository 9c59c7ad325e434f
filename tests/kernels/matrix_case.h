// Random matrices with gaps, and an output matrix that is compared with the reference's, which the
// cases of kernels without weights share.
#ifndef LIGHTCAP_TESTS_KERNELS_MATRIX_CASE_H_
#define LIGHTCAP_TESTS_KERNELS_MATRIX_CASE_H_

#include <algorithm>
#include <limits>
#include <string>

#include "tests/kernels/kernel_case.h"

namespace lightcap::internal::testing {

// A rounding's relative error.
inline constexpr double kUnit = std::numeric_limits<float>::epsilon() / 2;

// [rows][columns], rows `gap` floats further apart than they are wide, ending at an unmapped page.
// Gaps hold NaN.
struct GappedMatrix {
  size_t rows, columns, stride;
  GuardedFloats floats;

  GappedMatrix(size_t row_count, size_t column_count, size_t gap = 0)
      : rows(row_count),
        columns(column_count),
        stride(column_count + gap),
        floats(row_count == 0 ? 0 : (row_count - 1) * stride + column_count) {}
  GappedMatrix(size_t row_count, size_t column_count, size_t gap, Random& random, float scale = 1)
      : GappedMatrix(row_count, column_count, gap) {
    random.fill(data(), rows, columns, stride);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < columns; ++j) row(i)[j] *= scale;
    }
  }
  float* data() { return floats.data(); }
  const float* data() const { return floats.data(); }
  float* row(size_t i) { return data() + i * stride; }
  const float* row(size_t i) const { return data() + i * stride; }
};

// A kernel's output and the reference's.
struct OutputPair {
  GappedMatrix actual, expected;

  OutputPair(size_t rows, size_t columns, size_t gap = 0)
      : actual(rows, columns, gap), expected(rows, columns, gap) {}

  // Afterwards `actual` is NaN again: the next kernel has to write its own.
  std::string compare(const std::function<double(size_t, size_t)>& bound) {
    std::string difference = compare_floats({actual.data(), actual.stride, expected.data(),
                                             expected.stride, actual.rows, actual.columns},
                                            bound);
    if (difference.empty()) {
      difference = check_gaps(actual.data(), actual.rows, actual.columns, actual.stride);
    }
    std::fill_n(actual.data(), actual.floats.size(), std::numeric_limits<float>::quiet_NaN());
    return difference;
  }
};

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_KERNELS_MATRIX_CASE_H_
