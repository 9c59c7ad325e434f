// Bytes with guards, random int8 weights, and outputs with every kind of integer epilogue, which
// the cases of integer kernels share. Results are compared by ==.
#ifndef LIGHTCAP_TESTS_KERNELS_INTEGER_CASE_H_
#define LIGHTCAP_TESTS_KERNELS_INTEGER_CASE_H_

#include <string>
#include <vector>

#include "kernels/packed_matrix.h"
#include "tests/kernels/product_case.h"

namespace lightcap::internal::testing {

// Bytes that end at an unmapped page. Their address is a multiple of 4 if `count` is.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t count)
      : floats_((count + 3) / 4), skipped_(floats_.size() * 4 - count), count_(count) {}
  uint8_t* data() { return reinterpret_cast<uint8_t*>(floats_.data()) + skipped_; }
  const uint8_t* data() const {
    return reinterpret_cast<const uint8_t*>(floats_.data()) + skipped_;
  }
  size_t size() const { return count_; }
  uint8_t& operator[](size_t i) { return data()[i]; }
  uint8_t operator[](size_t i) const { return data()[i]; }

 private:
  GuardedFloats floats_;
  size_t skipped_, count_;
};

// Random bytes, of which a tenth are 0 and a tenth 255.
void fill_bytes(Random& random, uint8_t* data, size_t count);

// Random int8 weights as panels of quads, ending at an unmapped page, with their sums and random
// scales. Neighbours of one sign add up to 128 at most, as kernels.h asks, and often to exactly
// that; -127 and 127 are frequent.
class RandomQuads {
 public:
  // `spread` is how large sums of random bytes become about, after they were scaled.
  RandomQuads(size_t outputs, size_t depth, Random& random, float spread);

  const PackedMatrix& matrix() const { return matrix_; }

 private:
  GuardedFloats memory_, scales_;
  std::vector<int32_t> sums_;
  PackedMatrix matrix_;
};

struct IntegerEpilogueKind {
  Activation activation = Activation::kNone;
  Residual residual = Residual::kNone;
  bool is_float = false;
  // How large t becomes about: with 64 some bytes saturate, with 20000 nearly all do, and SiLU's 16
  // bits too.
  float spread = 64;

  // All that the contract allows.
  static constexpr size_t kCount = 2 * (3 + 3 + 3) + 2 * 3;
  static IntegerEpilogueKind nth(size_t i);
  std::string name() const;
};

// [rows][columns] outputs of a kernel and of the reference, `stride` apart, and the epilogue's
// inputs. Only rows [first_row, first_row + used_rows) are to be written.
class IntegerProductOutput {
 public:
  using Shape = ProductOutput::Shape;
  IntegerProductOutput(const Shape& shape, const IntegerEpilogueKind& kind, Random& random);

  // Ready to be written by the kernel or the reference: in place, the output is the residual.
  IntegerOutput actual() { return prepared(actual_); }
  IntegerOutput expected() { return prepared(expected_); }
  IntegerEpilogue epilogue(const IntegerOutput& output) const;
  std::vector<int32_t>& bias() { return bias_; }

  // Call after the reference has run: fills the kernel's output with what it must not hold.
  void forget();
  // Compares the outputs, and then forgets what the kernel wrote.
  std::string compare();

 private:
  IntegerOutput prepared(GuardedBytes& output) const;
  bool in_place() const;

  Shape shape_;
  IntegerEpilogueKind kind_;
  size_t element_;  // bytes of an element of the output
  GuardedBytes actual_, expected_, residual_;
  std::vector<int32_t> bias_;
  int32_t zero_, residual_zero_;
  int16_t silu_factor_;
};

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_KERNELS_INTEGER_CASE_H_
