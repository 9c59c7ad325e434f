// The vector primitives of one instruction set behind pointers, for tests: the shipped library has
// them inlined into kernels only. Vectors are arrays of `lanes` floats.
#ifndef LIGHTCAP_TESTS_PRIMITIVES_PRIMITIVE_TABLE_H_
#define LIGHTCAP_TESTS_PRIMITIVES_PRIMITIVE_TABLE_H_

#include <cstddef>
#include <cstdint>

namespace lightcap::internal::testing {

struct PrimitiveTable {
  const char* isa;
  size_t lanes;
  bool is_fused;  // multiply_add and add_product round once
  size_t registers, tile_rows, tile_panels;

  void (*load_partial)(const float* p, size_t count, float* out);
  void (*store_partial)(float* p, const float* x, size_t count);
  void (*first_lanes_or)(const float* x, size_t count, float rest, float* out);
  void (*multiply_add)(const float* x, const float* y, const float* z, float* out);
  void (*add_product)(float* sum, const float* x, const float* y);
  void (*divide)(const float* x, const float* y, float* out);
  void (*min)(const float* x, const float* y, float* out);
  void (*max)(const float* x, const float* y, float* out);
  // p is aligned to 2 * lanes bytes.
  void (*load_half)(const uint16_t* p, float* out);
  void (*load_bfloat)(const uint16_t* p, float* out);
  void (*exp_of_minus)(const float* x, float* out);
  void (*sigmoid)(const float* x, float* out);
  void (*gelu)(const float* x, float* out);
  float (*sum_lanes)(const float* x);
  float (*max_lanes)(const float* x);
};

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_PRIMITIVES_PRIMITIVE_TABLE_H_
