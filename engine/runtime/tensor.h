// Views of numbers. They own nothing: memory belongs to an arena, a weights file or the caller.
#ifndef LIGHTCAP_ENGINE_RUNTIME_TENSOR_H_
#define LIGHTCAP_ENGINE_RUNTIME_TENSOR_H_

#include <cstddef>
#include <cstdint>

namespace lightcap::internal {

// [rows][columns], rows `stride` elements apart.
template <class T>
struct MatrixOf {
  T* data = nullptr;
  size_t rows = 0, columns = 0, stride = 0;

  T* row(size_t i) const { return data + i * stride; }
  MatrixOf first_rows(size_t count) const { return {data, count, columns, stride}; }
  MatrixOf from_row(size_t first, size_t count) const {
    return {row(first), count, columns, stride};
  }
};

// A picture of features, [height][width][channels] (NHWC, N = 1). Pixels are `pixel_stride`
// elements apart and rows `row_stride`, so a slice of channels is a tensor too, and concatenation
// is writing to slices.
template <class T>
struct TensorOf {
  T* data = nullptr;
  size_t height = 0, width = 0, channels = 0;
  size_t row_stride = 0, pixel_stride = 0;

  TensorOf slice(size_t first_channel, size_t count) const {
    return {data + first_channel, height, width, count, row_stride, pixel_stride};
  }
  // Rows follow each other without gaps, as the pixels of a row do.
  bool rows_are_dense() const { return row_stride == width * pixel_stride; }
  // One row per pixel. Rows must be dense.
  MatrixOf<T> pixels() const { return {data, height * width, channels, pixel_stride}; }
};

using Matrix = MatrixOf<float>;
using Tensor = TensorOf<float>;
// Activations of an int8 model: 8-bit integers, whose scale and zero the layer knows that makes
// them (ConvQuantization).
using ByteTensor = TensorOf<uint8_t>;

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_TENSOR_H_
