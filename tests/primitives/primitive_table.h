// The vector primitives of one instruction set behind pointers, for tests: the shipped library has
// them inlined into kernels only. Vectors are arrays of `lanes` floats.
#ifndef LIGHTCAP_TESTS_PRIMITIVES_PRIMITIVE_TABLE_H_
#define LIGHTCAP_TESTS_PRIMITIVES_PRIMITIVE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

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
  // A step of a panel as load_of_panel and order_outputs give it. p is aligned to 32 bytes.
  void (*load_bfloat_panel)(const uint16_t* p, float* out);
  void (*widen)(const float* x, double* out);
  void (*store_narrow)(const double* x, float* out);
  void (*exp_of_minus)(const float* x, float* out);
  void (*sigmoid)(const float* x, float* out);
  void (*gelu)(const float* x, float* out);
  float (*sum_lanes)(const float* x);
  float (*max_lanes)(const float* x);

  // Integers. Vectors of 32 bits have `lanes` lanes, those of bytes four times as many.
  int32_t byte_offset;
  void (*rounded_product_plus)(const float* x, const float* y, const float* z, float* out);
  void (*to_integers)(const float* x, int32_t* out);
  void (*to_floats)(const int32_t* x, float* out);
  void (*add_dots)(int32_t* sum, const uint8_t* quad, const int8_t* weights);  // [lanes][4]
  // add_dots_of, which takes a quad out of quads_of_rows; null where that is 1.
  size_t quads_of_rows;
  void (*add_dots_of)(int32_t* sum, const uint8_t* quads, size_t quad, const int8_t* weights);
  // Sums [2][lanes] of two rows of quads, `stride` bytes apart, and weights [quads][lanes][4], by
  // all that blocks need; null where kMultipliesBlocks is false. 1 or 2 quads.
  void (*add_blocks)(int32_t* sums, const uint8_t* rows, size_t stride, size_t quads,
                     const int8_t* weights);
  void (*add_pairs)(int32_t* sum, const int16_t* row, const int16_t* weights);  // [lanes][2]
  void (*load_bytes)(const uint8_t* p, int32_t* out);
  // The four vectors x [4 * lanes] as 16-bit numbers, at least `floor`, plus `added`, as bytes.
  void (*to_bytes)(const int32_t* x, int16_t floor, int16_t added, uint8_t* out);
  // SiLU of x [4 * lanes], plus as many bytes.
  void (*silu)(const int32_t* x, int16_t factor, const uint8_t* added, uint8_t* out);
  void (*split)(const int32_t* x, uint8_t* high, uint8_t* low);
  // For 1, 2 or 4 rows, as many as leave a row 16 bytes.
  void (*load_rows)(size_t rows, const uint8_t* p, size_t stride, size_t count, uint8_t* out);
  void (*store_rows)(size_t rows, const uint8_t* bytes, uint8_t* p, size_t stride, size_t count);
};

// The tables of this machine's instruction sets that this CPU supports.
std::vector<const PrimitiveTable*> supported_tables();

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_PRIMITIVES_PRIMITIVE_TABLE_H_
