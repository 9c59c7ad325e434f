// Shapes of convolutions, for the cases of floats and of bytes alike. Epilogue is the kind of
// epilogue: it has a name() and nth(i).
#ifndef LIGHTCAP_TESTS_KERNELS_CONV_SHAPE_H_
#define LIGHTCAP_TESTS_KERNELS_CONV_SHAPE_H_

#include <algorithm>
#include <array>
#include <string>

#include "tests/kernels/kernel_case.h"

namespace lightcap::internal::testing {

template <class Epilogue>
struct ConvShape {
  size_t height, width, channels;
  size_t kernel_height, kernel_width, stride, padding;
  size_t columns;
  size_t first_pixel = 0, pixels = SIZE_MAX;  // SIZE_MAX: to the last
  size_t pixel_gap = 0, row_gap = 0, output_gap = 0;
  Epilogue epilogue = {};
  size_t beyond = 0;  // more output columns than the input fills: their windows see zeros
  DataType type = DataType::kF32;  // of the weights of a convolution of floats

  size_t output_height() const { return (height + 2 * padding - kernel_height) / stride + 1; }
  size_t output_width() const { return (width + 2 * padding - kernel_width) / stride + 1 + beyond; }
  size_t output_pixels() const { return output_height() * output_width(); }
  size_t used_pixels() const { return std::min(pixels, output_pixels() - first_pixel); }
  size_t depth() const { return kernel_height * kernel_width * channels; }
  size_t pixel_stride() const { return channels + pixel_gap; }
  size_t row_stride() const { return width * pixel_stride() + row_gap; }
  size_t input_elements() const {
    return (height - 1) * row_stride() + (width - 1) * pixel_stride() + channels;
  }
  double flops() const { return 2.0 * static_cast<double>(used_pixels() * depth() * columns); }
  // The input's share of the pixels computed, without halos, and the output.
  size_t elements_moved() const { return used_pixels() * (stride * stride * channels + columns); }

  std::string name() const {
    const auto text = [](size_t value) { return std::to_string(value); };
    const std::string kernel = kernel_height == kernel_width
                                   ? text(kernel_height)
                                   : text(kernel_height) + "x" + text(kernel_width);
    return text(height) + "x" + text(width) + "x" + text(channels) + " k" + kernel + " s" +
           text(stride) + " p" + text(padding) + " n" + text(columns) + " pixels " +
           text(first_pixel) + "+" + text(used_pixels()) + " gaps " + text(pixel_gap) + "," +
           text(row_gap) + "," + text(output_gap) + (beyond != 0 ? " beyond" : "") +
           epilogue.name() +
           (type == DataType::kF32 ? "" : std::string(" ") + data_type_name(type));
  }

  // Sets all that the arguments of floats and of bytes have in common.
  template <class Args>
  void describe(Args& args) const {
    args.input_row_stride = row_stride();
    args.input_pixel_stride = pixel_stride();
    args.height = height;
    args.width = width;
    args.channels = channels;
    args.kernel_height = kernel_height;
    args.kernel_width = kernel_width;
    args.stride = stride;
    args.padding = padding;
    args.output_pixel_stride = columns + output_gap;
    args.output_width = output_width();
    args.first_pixel = first_pixel;
    args.pixels = used_pixels();
  }
};

// Kernels, strides and paddings of every kind, windows that lie outside entirely among them. Gaps
// are multiples of `gap_unit`. Calls add(shape, i) for the i-th.
template <class Epilogue, class Add>
void for_each_small_conv(uint64_t seed, const std::array<size_t, 6>& channels, size_t gap_unit,
                         const Add& add) {
  constexpr size_t kColumns[] = {1, 15, 16, 17, 32, 33, 50, 64};
  Random random(seed);
  const auto pick = [&](size_t count) { return static_cast<size_t>(random.bits()) % count; };
  // The least side whose padded length holds the kernel, and up to 8 more.
  const auto side = [&](size_t kernel, size_t padding) {
    return pick(9) + (kernel > 2 * padding ? kernel - 2 * padding : 1);
  };
  const auto gap = [&](size_t unit) {
    const bool has_one = pick(2) != 0;
    return unit * has_one * pick(4);
  };
  for (size_t i = 0; i < size_t{6} * 6 * 3 * 5; ++i) {
    ConvShape<Epilogue> shape = {};
    shape.kernel_height = 1 + i / 90;
    shape.kernel_width = 1 + i / 15 % 6;
    shape.stride = 1 + i / 5 % 3;
    shape.padding = i % 5;
    shape.height = side(shape.kernel_height, shape.padding);
    shape.width = side(shape.kernel_width, shape.padding);
    shape.channels = channels[pick(6)];
    shape.columns = kColumns[pick(8)];
    shape.beyond = pick(8) == 0 ? pick(3) : 0;
    shape.pixel_gap = gap(gap_unit);
    shape.row_gap = gap(gap_unit);
    shape.output_gap = gap(1);
    shape.epilogue = Epilogue::nth(i % Epilogue::kCount);
    if (pick(2) == 0) {
      shape.first_pixel = pick(shape.output_pixels());
      shape.pixels = pick(shape.output_pixels() - shape.first_pixel + 1);
    }
    add(shape, i);
  }
}

// Small pictures with a kernel of 3 x 3: those of so many channels, which padding fills with zeros;
// every number of pixels up to two tiles, in panels of every width; and every epilogue there is.
template <class Epilogue, class Add>
void for_each_3x3_conv(const std::array<size_t, 4>& channels, size_t channel_unit, const Add& add) {
  ConvShape<Epilogue> shape = {.height = 3,
                               .width = 4,
                               .channels = 0,
                               .kernel_height = 3,
                               .kernel_width = 3,
                               .stride = 1,
                               .padding = 1,
                               .columns = 20};
  for (const size_t count : channels) {
    shape.channels = count;
    add(shape);
  }
  shape.height = 6;
  shape.width = 7;
  shape.channels = (5 + channel_unit - 1) / channel_unit * channel_unit;
  for (shape.pixels = 1; shape.pixels <= 25; ++shape.pixels) {
    shape.first_pixel = shape.pixels % 17;
    for (const size_t columns : {7u, 16u, 32u, 41u}) {
      shape.columns = columns;
      add(shape);
    }
  }
  shape.height = 5;
  shape.width = 6;
  shape.channels = 4;
  shape.stride = 2;
  shape.columns = 45;
  shape.first_pixel = 0;
  shape.pixels = SIZE_MAX;
  for (size_t kind = 0; kind < Epilogue::kCount; ++kind) {
    shape.output_gap = kind % 4;
    shape.epilogue = Epilogue::nth(kind);
    add(shape);
  }
}

// The epilogues of the graph's own convolutions.
template <class Epilogue>
struct ModelEpilogues {
  Epilogue relu, silu, bottleneck;
};

// The graph's own convolutions in tasks of 96 pixels: an encoder at 224 x 224, a detector at 480 x
// 640. The stems' inputs, of `stem_channels`, come with their padding in place.
template <class Epilogue, class Add>
void for_each_model_conv(size_t stem_channels, const ModelEpilogues<Epilogue>& epilogues,
                         const Add& add) {
  const auto& [relu, silu, bottleneck] = epilogues;
  struct Layer {
    size_t height, width, channels, kernel, stride, padding, columns;
    Epilogue epilogue;
  };
  const Layer layers[] = {
      {226, 226, stem_channels, 3, 2, 0, 32, relu},
      {112, 112, 32, 3, 1, 1, 64, relu},
      {56, 56, 64, 3, 1, 1, 64, relu},
      {28, 28, 128, 3, 1, 1, 128, relu},
      {14, 14, 256, 3, 1, 1, 256, relu},
      {7, 7, 512, 3, 1, 1, 512, relu},
      {484, 644, stem_channels, 6, 2, 0, 16, silu},
      {240, 320, 16, 3, 2, 1, 32, silu},
      {120, 160, 16, 3, 1, 1, 16, bottleneck},
      {120, 160, 32, 3, 2, 1, 64, silu},
      {60, 80, 32, 3, 1, 1, 32, bottleneck},
      {30, 40, 64, 3, 1, 1, 64, bottleneck},
      {30, 40, 128, 3, 2, 1, 256, silu},
      {15, 20, 128, 3, 1, 1, 128, bottleneck},
  };
  for (const Layer& layer : layers) {
    ConvShape<Epilogue> shape = {};
    shape.height = layer.height;
    shape.width = layer.width;
    shape.channels = layer.channels;
    shape.kernel_height = shape.kernel_width = layer.kernel;
    shape.stride = layer.stride;
    shape.padding = layer.padding;
    shape.columns = layer.columns;
    shape.epilogue = layer.epilogue;
    // From the middle of the picture, past the end of a row.
    shape.first_pixel = shape.output_pixels() / 2 / 12 * 12;
    shape.pixels = 96;
    add(shape);
  }
}

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_KERNELS_CONV_SHAPE_H_
