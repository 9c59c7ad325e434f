// Winograd's transforms with their matrices written out: components are B^T d B, the output A^T m
// A. For points p and infinity, a row of B^T holds the coefficients of the polynomial that is zero
// at all other points, and a column of A^T is (1, p, p^2, ...).
#include <cmath>
#include <vector>

#include "kernels/pack.h"
#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {
namespace {

constexpr size_t kMaxSide = 6;

struct Matrices {
  size_t side;
  double input[kMaxSide][kMaxSide] = {};   // B^T
  double output[kMaxSide][kMaxSide] = {};  // A^T, `tile` rows

  explicit Matrices(size_t tile) : side(tile + 2) {
    std::vector<double> points = {0, 1, -1};
    if (tile == 4)
      points = {0, kWinogradInnerPoint, -kWinogradInnerPoint, kWinogradOuterPoint,
                -kWinogradOuterPoint};
    for (size_t row = 0; row < side; ++row) {  // the last row is infinity's
      std::vector<double> polynomial = {1};
      for (size_t i = 0; i < points.size(); ++i) {
        if (i != row) polynomial = times_root(polynomial, points[i]);
      }
      // The point 0's polynomial for tile 2 is x^2 - 1, whose sign is turned, as is customary.
      const double sign = tile == 2 && row == 0 ? -1 : 1;
      for (size_t k = 0; k < polynomial.size(); ++k) input[row][k] = sign * polynomial[k];
      for (size_t k = 0; k < tile; ++k) {
        output[k][row] = row < points.size() ? std::pow(points[row], static_cast<double>(k))
                                             : static_cast<double>(k == tile - 1);
      }
    }
  }

  // p(x) (x - root)
  static std::vector<double> times_root(const std::vector<double>& p, double root) {
    std::vector<double> product(p.size() + 1);
    for (size_t k = 0; k < p.size(); ++k) {
      product[k + 1] += p[k];
      product[k] -= root * p[k];
    }
    return product;
  }
};

// left [rows][inner] times x [inner][inner] times the transpose of left, x as a function.
template <class X>
double sandwich(const double (&left)[kMaxSide][kMaxSide], const X& x, size_t inner, size_t row,
                size_t column) {
  double sum = 0;
  for (size_t i = 0; i < inner; ++i) {
    for (size_t j = 0; j < inner; ++j) sum += left[row][i] * x(i, j) * left[column][j];
  }
  return sum;
}

}  // namespace

void winograd_weights(const WinogradWeightsArgs& args) {
  pack_winograd_panels({args.weights, 2, args.output, args.component_stride}, 0,
                       panel_count(args.weights.outputs));
}

void winograd_input(const WinogradInputArgs& args) {
  const Matrices matrices(args.tile);
  const size_t side = matrices.side;
  const size_t across = (args.width + args.tile - 1) / args.tile;
  for (size_t tile = args.first_tile; tile < args.first_tile + args.tiles; ++tile) {
    for (size_t channel = 0; channel < args.channels; ++channel) {
      const auto x = [&](size_t i, size_t j) {
        const size_t row = tile / across * args.tile + i, column = tile % across * args.tile + j;
        const bool inside = row >= 1 && row <= args.height && column >= 1 && column <= args.width;
        if (!inside) return 0.0;
        return static_cast<double>(args.input[(row - 1) * args.input_row_stride +
                                              (column - 1) * args.input_pixel_stride + channel]);
      };
      for (size_t i = 0; i < side * side; ++i) {
        args.output[i * args.component_stride + (tile - args.first_tile) * args.tile_stride +
                    channel] =
            static_cast<float>(sandwich(matrices.input, x, side, i / side, i % side));
      }
    }
  }
}

void winograd_output(const WinogradOutputArgs& args) {
  const Matrices matrices(args.tile);
  const size_t side = matrices.side;
  const size_t across = (args.width + args.tile - 1) / args.tile;
  std::vector<double> products(side * side);
  const auto x = [&](size_t i, size_t j) { return products[i * side + j]; };
  for (size_t tile = args.first_tile; tile < args.first_tile + args.tiles; ++tile) {
    for (size_t column = 0; column < args.columns; ++column) {
      for (size_t i = 0; i < side * side; ++i) {
        products[i] =
            static_cast<double>(args.input[i * args.component_stride +
                                           (tile - args.first_tile) * args.tile_stride + column]);
      }
      const size_t window = args.pooled ? 2 : 1;
      for (size_t i = 0; i < args.tile * args.tile; ++i) {
        const size_t y = tile / across * args.tile + i / args.tile;
        const size_t xs = tile % across * args.tile + i % args.tile;
        if (y >= args.height || xs >= args.width) continue;
        const float value =
            finished(sandwich(matrices.output, x, side, i / args.tile, i % args.tile),
                     args.epilogue, y * args.width + xs, column);
        const size_t pixel = y / window * (args.width / window) + xs / window;
        float& output = args.output[pixel * args.output_pixel_stride + column];
        const bool first = y % window == 0 && xs % window == 0;
        output = (first ? 0 : output) + value / static_cast<float>(window * window);
      }
    }
  }
}

}  // namespace lightcap::internal::reference
