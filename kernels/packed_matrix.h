// Weights as the kernels read them: panels of 16 outputs, in the type that the file stores.
#ifndef LIGHTCAP_KERNELS_PACKED_MATRIX_H_
#define LIGHTCAP_KERNELS_PACKED_MATRIX_H_

#include <cstddef>
#include <cstdint>

#include "kernels/data_type.h"

namespace lightcap::internal {

// The number of outputs that a panel holds side by side. 16 floats are one zmm, two ymm or four q
// registers, so one layout serves every instruction set.
inline constexpr size_t kPanelWidth = 16;

constexpr size_t panel_count(size_t outputs) { return (outputs + kPanelWidth - 1) / kPanelWidth; }

// The consecutive elements of a row that integer panels keep together: what one instruction
// multiplies and adds up for each of its lanes (VNNI's vpdpbusd, NEON's sdot).
inline constexpr size_t kQuad = 4;
// The same of 16-bit integers (SSE2's pmaddwd).
inline constexpr size_t kPair = 2;

// A row's depth as panels of this type store it.
constexpr size_t panel_depth(size_t depth, DataType type) {
  return type == DataType::kI8 ? (depth + kQuad - 1) / kQuad * kQuad : depth;
}

// The number of elements that a matrix [outputs][depth] takes as panels.
constexpr size_t panel_elements(size_t outputs, size_t depth, DataType type = DataType::kF32) {
  return panel_count(outputs) * panel_depth(depth, type) * kPanelWidth;
}

// The index of weight [output][k] among the elements of integer panels.
constexpr size_t quad_panel_index(size_t output, size_t k, size_t depth) {
  const size_t quads = panel_depth(depth, DataType::kI8) / kQuad;
  const size_t quad = output / kPanelWidth * quads + k / kQuad;
  return (quad * kPanelWidth + output % kPanelWidth) * kQuad + k % kQuad;
}

// A matrix [outputs][depth] of weights as panels [ceil(outputs / 16)][depth][16], with zeros in the
// last panel's missing outputs. A convolution's weights are such a matrix whose depth is
// kernel_height * kernel_width * channels, channels innermost. This is a view: the memory belongs
// to its maker, most often a mapped weights file. pack.h makes panels.
//
// int8 weights are panels of quads, [ceil(outputs / 16)][ceil(depth / 4)][16][4]: a row of a panel
// has four consecutive elements of each output, zeros behind the last. They come with a scale for
// each output, by which its sums are multiplied.
struct PackedMatrix {
  const void* data = nullptr;  // 64-byte aligned
  size_t outputs = 0, depth = 0;
  DataType type = DataType::kF32;
  // These are null but for int8 weights:
  const float* scales = nullptr;  // [outputs]
  const int32_t* sums = nullptr;  // [outputs], the sum over k of weights[output][k]

  // The outputs [first, first + count). `first` must be a multiple of kPanelWidth.
  PackedMatrix slice(size_t first, size_t count) const {
    PackedMatrix part = *this;
    part.data = static_cast<const unsigned char*>(data) +
                first * panel_depth(depth, type) * data_type_bytes(type);
    part.outputs = count;
    if (scales != nullptr) part.scales += first;
    if (sums != nullptr) part.sums += first;
    return part;
  }
  // Bytes of memory of the panels, padding included.
  size_t bytes() const { return panel_elements(outputs, depth, type) * data_type_bytes(type); }
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_PACKED_MATRIX_H_
