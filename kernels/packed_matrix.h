// Weights as the kernels read them: panels of 16 outputs, in the type that the file stores.
#ifndef LIGHTCAP_KERNELS_PACKED_MATRIX_H_
#define LIGHTCAP_KERNELS_PACKED_MATRIX_H_

#include <cstddef>

#include "kernels/data_type.h"

namespace lightcap::internal {

// The number of outputs that a panel holds side by side. 16 floats are one zmm, two ymm or four q
// registers, so one layout serves every instruction set.
inline constexpr size_t kPanelWidth = 16;

constexpr size_t panel_count(size_t outputs) { return (outputs + kPanelWidth - 1) / kPanelWidth; }

// The number of elements that a matrix [outputs][depth] takes as panels.
constexpr size_t panel_elements(size_t outputs, size_t depth) {
  return panel_count(outputs) * depth * kPanelWidth;
}

// A matrix [outputs][depth] of weights as panels [ceil(outputs / 16)][depth][16], with zeros in the
// last panel's missing outputs. A convolution's weights are such a matrix whose depth is
// kernel_height * kernel_width * channels, channels innermost. This is a view: the memory belongs
// to its maker, most often a mapped weights file. pack.h makes panels.
struct PackedMatrix {
  const void* data = nullptr;  // 64-byte aligned
  size_t outputs = 0, depth = 0;
  DataType type = DataType::kF32;

  // The outputs [first, first + count). `first` must be a multiple of kPanelWidth.
  PackedMatrix slice(size_t first, size_t count) const {
    const auto* begin = static_cast<const unsigned char*>(data);
    return {begin + first * depth * data_type_bytes(type), count, depth, type};
  }
  // Bytes of memory, padding included.
  size_t bytes() const { return panel_elements(outputs, depth) * data_type_bytes(type); }
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_PACKED_MATRIX_H_
