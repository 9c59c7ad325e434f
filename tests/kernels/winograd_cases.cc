#include <cmath>
#include <cstdio>
#include <optional>

#include "kernels/pack.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/matrix_case.h"
#include "tests/kernels/product_case.h"

namespace lightcap::internal::testing {
namespace {

struct WinogradShape {
  size_t height, width, channels, tile;
  size_t columns = 16;
  size_t first_tile = 0, tiles = SIZE_MAX;  // SIZE_MAX: to the last
  size_t gap = 0;                           // between pixels and between tiles
  EpilogueKind epilogue = {};
  bool pooled = false;

  size_t window() const { return pooled ? 2 : 1; }
  size_t pixels() const { return height / window() * (width / window()); }
  size_t components() const { return winograd_components(tile); }
  size_t all_tiles() const { return winograd_tiles(height, width, tile); }
  size_t used_tiles() const { return std::min(tiles, all_tiles() - first_tile); }
  size_t across() const { return (width + tile - 1) / tile; }
  std::string name() const {
    const auto text = [](size_t value) { return std::to_string(value); };
    return text(height) + "x" + text(width) + "x" + text(channels) + " tile " + text(tile) + " n" +
           text(columns) + " tiles " + text(first_tile) + "+" + text(used_tiles()) + " gap " +
           text(gap) + epilogue.name() + (pooled ? " pooled" : "");
  }
};

class InputCase : public KernelCase {
 public:
  explicit InputCase(const WinogradShape& shape)
      : shape_(shape),
        random_(shape.channels + 31 * shape.tile),
        input_(shape.height * shape.width, shape.channels, shape.gap, random_),
        output_(shape.components() * shape.used_tiles(), shape.channels, shape.gap) {}
  void run(const KernelTable& kernels) override { kernels.winograd_input(args(output_.actual)); }
  void run_reference() override { reference::winograd_input(args(output_.expected)); }
  // Each axis is a sum of magnitudes up to 1 + 2.5 + 1, the largest row's, by some 5 roundings.
  std::string compare() override {
    return output_.compare([](size_t, size_t) { return 2 * 5 * kUnit * 4.5 * 4.5; });
  }
  double flops() const override { return 0; }
  double bytes() const override {
    return 4.0 * static_cast<double>(shape_.used_tiles() * shape_.channels *
                                     (shape_.tile * shape_.tile + shape_.components()));
  }

 private:
  // Only the tiles asked for have memory: what is written elsewhere is a crash or found in a gap.
  WinogradInputArgs args(GappedMatrix& output) const {
    return {.input = input_.data(),
            .input_row_stride = shape_.width * input_.stride,
            .input_pixel_stride = input_.stride,
            .height = shape_.height,
            .width = shape_.width,
            .channels = shape_.channels,
            .tile = shape_.tile,
            .output = output.data(),
            .component_stride = shape_.used_tiles() * output.stride,
            .tile_stride = output.stride,
            .first_tile = shape_.first_tile,
            .tiles = shape_.used_tiles()};
  }
  WinogradShape shape_;
  Random random_;
  GappedMatrix input_;
  OutputPair output_;
};

// A whole convolution: the components of random pictures and weights, multiplied by the gemm of the
// same instruction set and transformed back. Compared with the direct convolution's reference, so
// that the transforms are proved to belong together.
class OutputCase : public KernelCase {
 public:
  explicit OutputCase(const WinogradShape& shape)
      : shape_(shape),
        random_(shape.channels + 1000 * shape.columns),
        input_(shape.height * shape.width, shape.channels, shape.gap, random_),
        direct_(shape.columns, 9 * shape.channels, random_),
        components_(shape.components() * shape.all_tiles(), shape.channels, shape.gap),
        weights_(shape.components() * panel_elements(shape.columns, shape.channels)),
        products_(shape.components() * shape.all_tiles(), shape.columns, shape.gap),
        output_({shape.pixels(), shape.columns, shape.columns + shape.gap, 0, shape.pixels()},
                shape.epilogue, random_) {
    reference::winograd_input({.input = input_.data(),
                               .input_row_stride = shape.width * input_.stride,
                               .input_pixel_stride = input_.stride,
                               .height = shape.height,
                               .width = shape.width,
                               .channels = shape.channels,
                               .tile = shape.tile,
                               .output = components_.data(),
                               .component_stride = shape.all_tiles() * components_.stride,
                               .tile_stride = components_.stride,
                               .first_tile = 0,
                               .tiles = shape.all_tiles()});
    pack_winograd_panels({direct_.matrix(), shape.tile, weights_.data(),
                          panel_elements(shape.columns, shape.channels)},
                         0, panel_count(shape.columns));
  }
  // The output in two calls, so that neither may touch the other's pixels.
  void run(const KernelTable& kernels) override {
    for (size_t i = 0; i < shape_.components(); ++i) {
      kernels.gemm({.a = components_.data() + i * shape_.all_tiles() * components_.stride,
                    .a_stride = components_.stride,
                    .weights = component(i),
                    .c = products_.data() + i * shape_.all_tiles() * products_.stride,
                    .c_stride = products_.stride,
                    .rows = shape_.all_tiles(),
                    .epilogue = {}});
    }
    WinogradOutputArgs call = args(output_.actual());
    call.tiles = shape_.all_tiles() / 2;
    kernels.winograd_output(call);
    call.first_tile = call.tiles;
    call.input += call.tiles * products_.stride;
    call.tiles = shape_.all_tiles() - call.tiles;
    kernels.winograd_output(call);
  }
  void run_reference() override {
    float* expected = output_.expected();
    const size_t stride = shape_.columns + shape_.gap;
    std::vector<float> whole(shape_.pooled ? shape_.height * shape_.width * stride : 0);
    reference::conv({.input = input_.data(),
                     .input_row_stride = shape_.width * input_.stride,
                     .input_pixel_stride = input_.stride,
                     .height = shape_.height,
                     .width = shape_.width,
                     .channels = shape_.channels,
                     .kernel_height = 3,
                     .kernel_width = 3,
                     .stride = 1,
                     .padding = 1,
                     .weights = direct_.matrix(),
                     .output = shape_.pooled ? whole.data() : expected,
                     .output_pixel_stride = stride,
                     .output_width = shape_.width,
                     .first_pixel = 0,
                     .pixels = shape_.height * shape_.width,
                     .epilogue = output_.epilogue(expected)});
    if (!shape_.pooled) return;
    reference::average_pool({.input = whole.data(),
                             .input_row_stride = shape_.width * stride,
                             .input_pixel_stride = stride,
                             .height = shape_.height,
                             .width = shape_.width,
                             .channels = shape_.columns,
                             .window = 2,
                             .stride = 2,
                             .padding = 0,
                             .output = expected,
                             .output_row_stride = shape_.width / 2 * stride,
                             .output_pixel_stride = stride,
                             .output_width = shape_.width / 2,
                             .first_row = 0,
                             .rows = shape_.height / 2});
  }
  // On random numbers the error is 0.6 (tile 2) or 1.9 (tile 4) times that of the direct sum, since
  // magnified roundings weigh against a sum that is nine times shorter.
  std::string compare() override {
    const double magnified = shape_.tile == 2 ? 1 : 2;
    std::vector<double> rows(shape_.pixels(),
                             magnified * std::sqrt(9.0 * static_cast<double>(shape_.channels)));
    return output_.compare(shape_.channels + 16, rows, output_norms(direct_.matrix()));
  }
  double flops() const override {
    return 2.0 * static_cast<double>(shape_.components() * shape_.all_tiles() * shape_.channels *
                                     shape_.columns);
  }
  double bytes() const override {
    return 4.0 * static_cast<double>(weights_.size() + components_.rows * components_.columns +
                                     shape_.height * shape_.width * shape_.columns);
  }

 private:
  PackedMatrix component(size_t i) const {
    return {weights_.data() + i * panel_elements(shape_.columns, shape_.channels), shape_.columns,
            shape_.channels, DataType::kF32};
  }
  WinogradOutputArgs args(float* output) const {
    return {.input = products_.data(),
            .component_stride = shape_.all_tiles() * products_.stride,
            .tile_stride = products_.stride,
            .tile = shape_.tile,
            .output = output,
            .output_pixel_stride = shape_.columns + shape_.gap,
            .height = shape_.height,
            .width = shape_.width,
            .first_tile = 0,
            .tiles = shape_.all_tiles(),
            .columns = shape_.columns,
            .epilogue = output_.epilogue(output),
            .pooled = shape_.pooled};
  }
  WinogradShape shape_;
  Random random_;
  GappedMatrix input_;
  RandomWeights direct_;
  GappedMatrix components_;
  GuardedFloats weights_;
  GappedMatrix products_;
  ProductOutput output_;
};

// The components of random weights. There is a gap of a cache line between those, as there may be
// in the runtime: without, a multiple of 4 KiB apart, all would fall into one set of L1.
class WeightsCase : public KernelCase {
 public:
  // Magnitudes of narrow weights, as bits: from `smallest` to `largest`, and zeros.
  struct Range {
    uint16_t smallest, largest;
  };
  struct Shape {
    size_t outputs, channels;
    DataType type;
    std::optional<Range> range = {};
    std::string name() const {
      std::string name =
          std::to_string(channels) + " n" + std::to_string(outputs) + " " + data_type_name(type);
      if (range) {
        char text[32];
        std::snprintf(text, sizeof text, " %04x-%04x", range->smallest, range->largest);
        name += text;
      }
      return name;
    }
  };
  explicit WeightsCase(const Shape& shape)
      : random_(shape.channels),
        weights_(shape.outputs, 9 * shape.channels, random_, shape.type),
        output_(winograd_components(2), panel_elements(shape.outputs, shape.channels),
                kPanelWidth) {
    if (!shape.range) return;
    for (uint16_t& weight : weights_.bits()) {
      const uint32_t bits = random_.bits();
      const uint32_t count = shape.range->largest - shape.range->smallest + 1u;
      const uint32_t magnitude = bits % 8 == 0 ? 0 : shape.range->smallest + (bits >> 8) % count;
      weight = static_cast<uint16_t>(magnitude | (bits & 8) << 12);
    }
  }
  void run(const KernelTable& kernels) override { kernels.winograd_weights(args(output_.actual)); }
  void run_reference() override { reference::winograd_weights(args(output_.expected)); }
  std::string compare() override {
    return output_.compare([](size_t, size_t) { return 0.0; });
  }
  double flops() const override { return 0; }
  double bytes() const override {
    return static_cast<double>(weights_.matrix().bytes()) +
           4.0 * static_cast<double>(output_.actual.rows * output_.actual.columns);
  }

 private:
  WinogradWeightsArgs args(GappedMatrix& output) const {
    return {
        .weights = weights_.matrix(), .output = output.data(), .component_stride = output.stride};
  }
  Random random_;
  RandomWeights weights_;
  OutputPair output_;
};

template <class Case>
void add(std::vector<CaseFactory>& cases, const WinogradShape& shape, bool model_shape = false) {
  cases.push_back({shape.name(), model_shape, [shape] { return std::make_unique<Case>(shape); }});
}

// Pictures of every remainder by the tile, down to one pixel.
constexpr size_t kSides[] = {1, 2, 3, 4, 5, 7, 8, 13};

}  // namespace

std::vector<CaseFactory> winograd_input_cases() {
  std::vector<CaseFactory> cases;
  for (const size_t tile : {size_t{2}, size_t{4}}) {
    for (size_t channels = 1; channels <= 35; ++channels) {
      const size_t height = kSides[channels % 8], width = kSides[(channels * 3 + 1) % 8];
      add<InputCase>(cases, {height, width, channels, tile, 16, 0, SIZE_MAX, channels % 3});
    }
    add<InputCase>(cases, {13, 9, 20, tile, 16, 3, 4, 1});
  }
  add<InputCase>(cases, {56, 56, 64, 4}, true);
  add<InputCase>(cases, {14, 14, 256, 2}, true);
  return cases;
}

std::vector<CaseFactory> winograd_output_cases() {
  std::vector<CaseFactory> cases;
  size_t count = 0;
  for (const size_t tile : {size_t{2}, size_t{4}}) {
    for (const size_t height : kSides) {
      for (const size_t width : {size_t{1}, size_t{6}, size_t{30}}) {
        const size_t columns = count * 7 % 67 + 1, channels = count * 5 % 23 + 1;
        add<OutputCase>(cases, {height, width, channels, tile, columns, 0, SIZE_MAX, count % 3,
                                EpilogueKind::nth(count * 3 % EpilogueKind::kCount)});
        ++count;
      }
    }
  }
  for (const size_t tile : {size_t{2}, size_t{4}}) {
    for (const size_t side : {size_t{2}, size_t{4}, size_t{6}, size_t{12}}) {
      for (const Activation activation : {Activation::kRelu, Activation::kSilu}) {
        const size_t columns = count++ % 3 == 0 ? 21 : 32;
        add<OutputCase>(cases, {side,
                                14 - side,
                                5,
                                tile,
                                columns,
                                0,
                                SIZE_MAX,
                                side % 3,
                                {true, Residual::kNone, activation},
                                true});
      }
    }
  }
  add<OutputCase>(cases, {56, 56, 64, 4, 64}, true);
  add<OutputCase>(cases, {28, 28, 128, 4, 128}, true);
  add<OutputCase>(
      cases, {28, 28, 64, 4, 64, 0, SIZE_MAX, 0, {true, Residual::kNone, Activation::kRelu}, true},
      true);
  add<OutputCase>(cases, {14, 14, 256, 2, 256}, true);
  add<OutputCase>(cases, {60, 80, 32, 4, 32, 0, SIZE_MAX, 0, EpilogueKind::nth(24)}, true);
  return cases;
}

std::vector<CaseFactory> winograd_weights_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const WeightsCase::Shape& shape, bool model_shape) {
    cases.push_back(
        {shape.name(), model_shape, [shape] { return std::make_unique<WeightsCase>(shape); }});
  };
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16}) {
    for (const size_t outputs : {size_t{1}, size_t{16}, size_t{37}}) {
      for (const size_t channels : {size_t{1}, size_t{7}, size_t{20}})
        add({outputs, channels, type}, false);
    }
  }
  // Sums of nine that floats can hold, just not, and far from it; denormals, and sums that are
  // larger than the largest float.
  constexpr uint16_t kLargestHalves[] = {0x03ff, 0x2f1c, 0x2f1d, 0x3c00, 0x7bff};
  constexpr uint16_t kLargestBfloats[] = {0x0680, 0x3d80, 0x7c00, 0x7c01, 0x7f7f};
  constexpr uint16_t kRanges[] = {12 << 7, (12 << 7) + 1, 20 << 7, 40 << 7};
  for (const size_t channels : {size_t{2}, size_t{21}}) {
    for (const uint16_t largest : kLargestHalves)
      add({16, channels, DataType::kF16, WeightsCase::Range{1, largest}}, false);
    for (const uint16_t largest : kLargestBfloats) {
      for (const uint16_t range : kRanges) {
        const auto smallest = static_cast<uint16_t>(largest > range ? largest - range : 1);
        add({16, channels, DataType::kBf16, WeightsCase::Range{smallest, largest}}, false);
      }
    }
  }
  add({32, 256, DataType::kF16, WeightsCase::Range{0x0400, 0x2e00}}, true);
  add({32, 256, DataType::kBf16, WeightsCase::Range{0x3a00, 0x3d00}}, true);
  return cases;
}

}  // namespace lightcap::internal::testing
