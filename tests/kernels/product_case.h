// An output with every kind of epilogue, and the error that a sum of products followed by one may
// have, which the cases of GEMM and convolution share.
#ifndef LIGHTCAP_TESTS_KERNELS_PRODUCT_CASE_H_
#define LIGHTCAP_TESTS_KERNELS_PRODUCT_CASE_H_

#include <span>
#include <string>
#include <vector>

#include "kernels/packed_matrix.h"
#include "tests/kernels/kernel_case.h"

namespace lightcap::internal::testing {

enum class Residual : uint8_t { kNone, kBefore, kAfter, kInPlaceBefore, kInPlaceAfter };

struct EpilogueKind {
  bool bias = true;
  Residual residual = Residual::kNone;
  Activation activation = Activation::kNone;

  static constexpr size_t kCount = 2 * 5 * 5;
  static EpilogueKind nth(size_t i);
  std::string name() const;
};

// [rows][columns] outputs of a kernel and of the reference, `stride` apart, and the epilogue's
// inputs. Only rows [first_row, first_row + used_rows) are to be written.
class ProductOutput {
 public:
  struct Shape {
    size_t rows, columns, stride;
    size_t first_row, used_rows;
  };
  ProductOutput(const Shape& shape, const EpilogueKind& kind, Random& random);

  // Ready to be written by the kernel or the reference: in place, the output is the residual.
  float* actual() { return prepared(actual_); }
  float* expected() { return prepared(expected_); }
  Epilogue epilogue(const float* output) const;

  // Compares the outputs and then forgets what the kernel wrote, so that the next has to write its
  // own. `row_norms` and `column_norms` are the Euclidean norms of the factors of each sum: by
  // Cauchy and Schwarz, their product bounds the sum of magnitudes.
  std::string compare(size_t depth, const std::vector<double>& row_norms,
                      const std::vector<double>& column_norms);

 private:
  float* prepared(GuardedFloats& output) const;
  bool in_place() const;
  double bound(size_t row, size_t column, size_t depth, double sum_of_magnitudes) const;
  std::string check_other_rows() const;

  Shape shape_;
  EpilogueKind kind_;
  GuardedFloats actual_, expected_, bias_, residual_;
};

// The norm of each output's weights.
std::vector<double> output_norms(const PackedMatrix& weights);

// Floats that `rows` rows take, the last without its gap: what follows it is unmapped.
constexpr size_t strided_floats(size_t rows, size_t columns, size_t stride) {
  return rows == 0 ? 0 : (rows - 1) * stride + columns;
}

// Random weights as panels of any type, ending at an unmapped page. The missing outputs of the last
// panel are zero. Narrow types hold subnormal numbers too.
class RandomWeights {
 public:
  RandomWeights(size_t outputs, size_t depth, Random& random, DataType type = DataType::kF32);

  const PackedMatrix& matrix() const { return matrix_; }
  // The elements of narrow panels as they are stored, to put other weights there.
  std::span<uint16_t> bits() {
    return {reinterpret_cast<uint16_t*>(memory_.data()),
            panel_elements(matrix_.outputs, matrix_.depth)};
  }
  // The same weights, widened to fp32.
  std::vector<float> widened() const;

 private:
  GuardedFloats memory_;
  PackedMatrix matrix_;
};

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_KERNELS_PRODUCT_CASE_H_
