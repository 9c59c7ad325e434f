// Winograd's filtering of bytes with its matrices written out: components are B^T d B, and four
// times the sums of the convolution A^T m A, modulo 2^32.
#include "kernels/reference/integer.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {
namespace {

constexpr size_t kSide = 4;
constexpr int kInput[kSide][kSide] = {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}};
constexpr int kOutput[2][kSide] = {{1, 1, 1, 0}, {0, 1, -1, 1}};

// left [rows][4] times x [4][4] times the transpose of left, x as a function.
template <size_t kRows, class X>
int32_t sandwich(const int (&left)[kRows][kSide], const X& x, size_t row, size_t column) {
  uint32_t sum = 0;
  for (size_t i = 0; i < kSide; ++i) {
    for (size_t j = 0; j < kSide; ++j)
      sum += static_cast<uint32_t>(left[row][i] * left[column][j]) * static_cast<uint32_t>(x(i, j));
  }
  return static_cast<int32_t>(sum);
}

}  // namespace

void integer_winograd_input(const IntegerWinogradInputArgs& args) {
  const size_t across = (args.width + 1) / 2;
  for (size_t tile = 0; tile < args.tiles; ++tile) {
    const size_t y = (args.first_tile + tile) / across * 2;
    const size_t x = (args.first_tile + tile) % across * 2;
    for (size_t channel = 0; channel < args.channels; ++channel) {
      const auto pixel = [&](size_t i, size_t j) -> int {
        const size_t row = y + i, column = x + j;
        const bool inside = row >= 1 && row <= args.height && column >= 1 && column <= args.width;
        return inside ? args.input[(row - 1) * args.input_row_stride +
                                   (column - 1) * args.input_pixel_stride + channel]
                      : args.input_zero;
      };
      for (size_t i = 0; i < kSide * kSide; ++i) {
        args.output[i * args.component_stride + tile * args.tile_stride + channel] =
            static_cast<int16_t>(sandwich(kInput, pixel, i / kSide, i % kSide));
      }
    }
  }
}

void pair_gemm(const PairGemmArgs& args) {
  for (size_t i = 0; i < args.rows; ++i) {
    for (size_t j = 0; j < args.columns; ++j) {
      uint32_t sum = 0;
      for (size_t k = 0; k < args.depth; ++k) {
        const size_t pair = j / kPanelWidth * (args.depth / kPair) + k / kPair;
        const size_t at = (pair * kPanelWidth + j % kPanelWidth) * kPair + k % kPair;
        sum += static_cast<uint32_t>(args.a[i * args.a_stride + k] * args.weights[at]);
      }
      args.c[i * args.c_stride + j] = static_cast<int32_t>(sum);
    }
  }
}

void integer_winograd_output(const IntegerWinogradOutputArgs& args) {
  const size_t across = (args.width + 1) / 2;
  for (size_t tile = 0; tile < args.tiles; ++tile) {
    for (size_t column = 0; column < args.weights.outputs; ++column) {
      const auto product = [&](size_t i, size_t j) {
        return args
            .input[(i * kSide + j) * args.component_stride + tile * args.tile_stride + column];
      };
      for (size_t i = 0; i < 4; ++i) {
        const size_t y = (args.first_tile + tile) / across * 2 + i / 2;
        const size_t x = (args.first_tile + tile) % across * 2 + i % 2;
        if (y >= args.height || x >= args.width) continue;
        finish({args.output, args.output_pixel_stride}, args.weights, args.epilogue,
               sandwich(kOutput, product, i / 2, i % 2) / 4, y * args.width + x, column);
      }
    }
  }
}

}  // namespace lightcap::internal::reference
