// Problems for kernels. One list of cases per row of kernels.def feeds both the tests, which
// compare with the reference, and the microbenchmarks, which time: a kernel can't have one without
// the other.
#ifndef LIGHTCAP_TESTS_KERNELS_KERNEL_CASE_H_
#define LIGHTCAP_TESTS_KERNELS_KERNEL_CASE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace lightcap::internal::testing {

// A problem with its own buffers: inputs, one output for the kernel and one for the reference.
class KernelCase {
 public:
  virtual ~KernelCase() = default;
  virtual void run(const KernelTable& kernels) = 0;
  virtual void run_reference() = 0;
  // Compares the two outputs, and checks that nothing around them was written. Empty where all is
  // well, else what differs, where and by how much against what is allowed.
  virtual std::string compare() = 0;
  // The cost of one run: floating-point operations (a multiply-add is two), and bytes that have to
  // move between memory and core when nothing is cached.
  virtual double flops() const = 0;
  // True if these are operations of integer products, which have a peak of their own.
  virtual bool multiplies_integers() const { return false; }
  virtual double bytes() const = 0;
};

struct CaseFactory {
  std::string name;  // the shape, as "14x14x256 k3 s1 n256"
  bool model_shape;  // a shape of the full-size graph: benchmarked as well as tested
  std::function<std::unique_ptr<KernelCase>()> make;
};

// gemm_cases(), conv_cases() ...: all sizes 1..2*tile+1 where that is feasible, strides wider than
// the row, every epilogue, NaN around the inputs, and the graph's own shapes.
#define LIGHTCAP_KERNEL(name, Args) std::vector<CaseFactory> name##_cases();
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL

struct KernelRow {
  const char* name;
  std::vector<CaseFactory> (*cases)();
  // True if an instruction set's own table (IsaInfo::own) has this kernel; else it is the parent's.
  bool (*is_in)(const KernelTable& own);
};
inline std::vector<KernelRow> kernel_rows() {
  return {
#define LIGHTCAP_KERNEL(name, Args) \
  {#name, name##_cases, [](const KernelTable& own) { return own.name != nullptr; }},
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
  };
}

// Floats that end (or begin) at an unmapped page, so that an access one float too far crashes
// instead of passing by luck. With Fence::kBegin they are page-aligned; with Fence::kEnd their
// alignment follows from `count` alone, which is fine for kernels, as they need that of float.
// Packed panels are whole cache lines and so are aligned either way.
class GuardedFloats {
 public:
  enum class Fence { kEnd, kBegin };
  // Makes the pages around later arrays ordinary memory, for benchmarks: a masked AVX-512 load or
  // store takes a microcode assist, hundreds of cycles, where lanes that it leaves out lie on a
  // page that is not there.
  static void leave_unfenced();
  explicit GuardedFloats(size_t count, Fence fence = Fence::kEnd);  // filled with NaN
  ~GuardedFloats();
  GuardedFloats(GuardedFloats&& other) noexcept;
  GuardedFloats& operator=(GuardedFloats&&) = delete;
  GuardedFloats(const GuardedFloats&) = delete;
  float* data() { return data_; }
  const float* data() const { return data_; }
  size_t size() const { return count_; }
  float& operator[](size_t i) { return data_[i]; }
  float operator[](size_t i) const { return data_[i]; }

 private:
  static bool is_unfenced_;

  void* map_ = nullptr;
  size_t map_bytes_ = 0;
  float* data_ = nullptr;
  size_t count_ = 0;
};

// Seeded uniform numbers in [-1, 1), the same on every platform.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint32_t bits();
  float uniform() { return static_cast<float>(bits() >> 8) * (1.0f / 8388608.0f) - 1.0f; }
  void fill(float* data, size_t rows, size_t columns, size_t stride);

 private:
  uint64_t state_;
};

// The panels that a product of `rows` rows is told to prefetch: its own for some, which must not
// change results.
inline const void* prefetched_panels(const PackedMatrix& weights, size_t rows) {
  return rows % 4 == 2 ? weights.data : nullptr;
}

// Compares [rows][columns] matrices element by element. `bound(i, j)` is the error allowed there,
// derived by the case from the length of the sum and the magnitudes in it. Also compares the means
// of the signed errors: a bias that hides inside every element's bound shows there. NaN and
// infinities must match.
struct Compared {
  const float* actual;
  size_t actual_stride;
  const float* expected;
  size_t expected_stride;
  size_t rows, columns;
};
std::string compare_floats(const Compared& outputs,
                           const std::function<double(size_t, size_t)>& bound);
// Checks that actual's gaps between columns and stride are still NaN.
std::string check_gaps(const float* data, size_t rows, size_t columns, size_t stride);

// The error bound of a float dot product: eps * (length + slack) * sum of |a_k b_k|.
double dot_bound(size_t length, double sum_of_magnitudes);

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_KERNELS_KERNEL_CASE_H_
