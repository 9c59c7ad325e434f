#include <algorithm>
#include <cstring>

#include "kernels/pack.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/integer_case.h"

namespace lightcap::internal::testing {
namespace {

constexpr size_t kComponents = winograd_components(2);

// [rows][columns] integers, `stride` apart, that a kernel and the reference write and that must be
// the same, with what is between the rows left alone. Ends at an unmapped page.
template <class T>
class ExactOutput {
 public:
  ExactOutput(size_t rows, size_t columns, size_t stride)
      : columns_(columns),
        stride_(stride),
        actual_(strided_floats(rows, columns, stride) * sizeof(T)),
        expected_(actual_.size()) {
    std::memset(expected_.data(), 0, expected_.size());
  }
  T* actual() { return reinterpret_cast<T*>(actual_.data()); }
  T* expected() { return reinterpret_cast<T*>(expected_.data()); }

  // Fills the kernel's output with what it must not hold.
  void forget() {
    for (size_t i = 0; i < actual_.size(); ++i)
      actual_[i] = static_cast<uint8_t>(expected_[i] ^ 0x55);
  }
  std::string compare() {
    std::string difference;
    for (size_t i = 0; i < actual_.size() / sizeof(T) && difference.empty(); ++i) {
      const bool is_asked = i % stride_ < columns_;
      // Elsewhere stands what forget() wrote.
      const T allowed = is_asked ? expected()[i] : static_cast<T>(expected()[i] ^ 0x55555555);
      if (actual()[i] == allowed) continue;
      difference = "element [" + std::to_string(i / stride_) + "][" + std::to_string(i % stride_) +
                   "] is " + std::to_string(actual()[i]) + ", expected " + std::to_string(allowed) +
                   (is_asked ? "" : ", which was not to be written");
    }
    forget();
    return difference;
  }

 private:
  size_t columns_, stride_;
  GuardedBytes actual_, expected_;
};

struct IntegerWinogradShape {
  size_t height, width, channels;
  size_t columns = 16;
  size_t first_tile = 0, tiles = SIZE_MAX;  // SIZE_MAX: to the last
  size_t gap = 0;                           // between pixels and between tiles, in quads
  IntegerEpilogueKind epilogue = {};

  size_t all_tiles() const { return winograd_tiles(height, width, 2); }
  size_t used_tiles() const { return std::min(tiles, all_tiles() - first_tile); }
  size_t pixels() const { return height * width; }
  size_t stride() const { return channels + kQuad * gap; }
  std::string name() const {
    const auto text = [](size_t value) { return std::to_string(value); };
    return text(height) + "x" + text(width) + "x" + text(channels) + " n" + text(columns) +
           " tiles " + text(first_tile) + "+" + text(used_tiles()) + " gap " + text(gap) +
           epilogue.name();
  }
};

// The bytes of a picture, which end at an unmapped page.
struct BytePicture {
  GuardedBytes bytes;
  uint8_t zero;

  BytePicture(const IntegerWinogradShape& shape, Random& random)
      : bytes((shape.pixels() - 1) * shape.stride() + shape.channels),
        zero(static_cast<uint8_t>(random.bits())) {
    fill_bytes(random, bytes.data(), bytes.size());
  }
};

class IntegerInputCase : public KernelCase {
 public:
  explicit IntegerInputCase(const IntegerWinogradShape& shape)
      : shape_(shape),
        random_(shape.channels),
        picture_(shape, random_),
        output_(kComponents * shape.used_tiles(), shape.channels, shape.stride()) {}
  void run(const KernelTable& kernels) override {
    kernels.integer_winograd_input(args(output_.actual()));
  }
  void run_reference() override {
    reference::integer_winograd_input(args(output_.expected()));
    output_.forget();
  }
  std::string compare() override { return output_.compare(); }
  double flops() const override { return 0; }
  double bytes() const override {
    return static_cast<double>(shape_.used_tiles() * shape_.channels * (4 + 2 * kComponents));
  }

 private:
  IntegerWinogradInputArgs args(int16_t* output) const {
    return {.input = picture_.bytes.data(),
            .input_row_stride = shape_.width * shape_.stride(),
            .input_pixel_stride = shape_.stride(),
            .height = shape_.height,
            .width = shape_.width,
            .channels = shape_.channels,
            .input_zero = picture_.zero,
            .output = output,
            .component_stride = shape_.used_tiles() * shape_.stride(),
            .tile_stride = shape_.stride(),
            .first_tile = shape_.first_tile,
            .tiles = shape_.used_tiles()};
  }
  IntegerWinogradShape shape_;
  Random random_;
  BytePicture picture_;
  ExactOutput<int16_t> output_;
};

// Any 16 bits: the contract is that sums wrap around.
class PairGemmCase : public KernelCase {
 public:
  struct Shape {
    size_t rows, depth, columns;
    size_t a_gap = 0, c_gap = 0;
    std::string name() const {
      return std::to_string(rows) + "x" + std::to_string(depth) + " n" + std::to_string(columns);
    }
  };
  explicit PairGemmCase(const Shape& shape)
      : shape_(shape),
        random_(shape.rows + 100 * shape.columns + 10000 * shape.depth),
        a_(2 * strided_floats(shape.rows, shape.depth, shape.depth + shape.a_gap)),
        weights_(2 * panel_elements(shape.columns, shape.depth)),
        output_(shape.rows, shape.columns, shape.columns + shape.c_gap) {
    for (GuardedBytes* const bytes : {&a_, &weights_}) {
      auto* shorts = reinterpret_cast<int16_t*>(bytes->data());
      for (size_t i = 0; i < bytes->size() / 2; ++i) {
        const uint32_t kind = random_.bits() % 10;
        shorts[i] = kind == 0   ? INT16_MIN
                    : kind == 1 ? INT16_MAX
                                : static_cast<int16_t>(random_.bits() % 65536 - 32768);
      }
    }
  }
  void run(const KernelTable& kernels) override { kernels.pair_gemm(args(output_.actual())); }
  void run_reference() override {
    reference::pair_gemm(args(output_.expected()));
    output_.forget();
  }
  std::string compare() override { return output_.compare(); }
  bool multiplies_integers() const override { return true; }
  double flops() const override {
    return 2.0 * static_cast<double>(shape_.rows * shape_.depth * shape_.columns);
  }
  double bytes() const override {
    return static_cast<double>(weights_.size() + 2 * shape_.rows * shape_.depth +
                               4 * shape_.rows * shape_.columns);
  }

 private:
  PairGemmArgs args(int32_t* c) const {
    return {.a = reinterpret_cast<const int16_t*>(a_.data()),
            .a_stride = shape_.depth + shape_.a_gap,
            .weights = reinterpret_cast<const int16_t*>(weights_.data()),
            .depth = shape_.depth,
            .columns = shape_.columns,
            .c = c,
            .c_stride = shape_.columns + shape_.c_gap,
            .rows = shape_.rows};
  }
  Shape shape_;
  Random random_;
  GuardedBytes a_, weights_;
  ExactOutput<int32_t> output_;
};

// A whole convolution: the components of a random picture and weights, multiplied by the pair_gemm
// of the same instruction set and transformed back. Compared with the direct convolution's
// reference.
class IntegerOutputCase : public KernelCase {
 public:
  explicit IntegerOutputCase(const IntegerWinogradShape& shape)
      : shape_(shape),
        random_(shape.channels + 1000 * shape.columns),
        picture_(shape, random_),
        direct_(shape.columns, 9 * shape.channels, random_, shape.epilogue.spread),
        components_(kComponents * component_stride()),
        weights_(2 * kComponents * panel_stride()),
        products_(kComponents * product_stride()),
        output_({shape.pixels(), shape.columns, shape.columns + shape.gap, 0, shape.pixels()},
                shape.epilogue, random_) {
    transform(direct_.matrix());
  }

  // The output in two calls, so that neither may touch the other's pixels.
  void run(const KernelTable& kernels) override {
    for (size_t i = 0; i < kComponents; ++i) {
      kernels.pair_gemm({.a = components_.data() + i * component_stride(),
                         .a_stride = shape_.stride(),
                         .weights = panels() + i * panel_stride(),
                         .depth = shape_.channels,
                         .columns = shape_.columns,
                         .c = products_.data() + i * product_stride(),
                         .c_stride = shape_.columns + shape_.gap,
                         .rows = shape_.all_tiles()});
    }
    IntegerWinogradOutputArgs call = args(output_.actual());
    call.tiles = shape_.all_tiles() / 2;
    kernels.integer_winograd_output(call);
    call.first_tile = call.tiles;
    call.input += call.tiles * call.tile_stride;
    call.tiles = shape_.all_tiles() - call.tiles;
    kernels.integer_winograd_output(call);
  }
  void run_reference() override {
    const IntegerOutput expected = output_.expected();
    reference::integer_conv({.input = picture_.bytes.data(),
                             .input_row_stride = shape_.width * shape_.stride(),
                             .input_pixel_stride = shape_.stride(),
                             .height = shape_.height,
                             .width = shape_.width,
                             .channels = shape_.channels,
                             .input_zero = picture_.zero,
                             .kernel_height = 3,
                             .kernel_width = 3,
                             .stride = 1,
                             .padding = 1,
                             .weights = weights(),
                             .output = expected,
                             .output_pixel_stride = shape_.columns + shape_.gap,
                             .output_width = shape_.width,
                             .first_pixel = 0,
                             .pixels = shape_.pixels(),
                             .epilogue = output_.epilogue(expected)});
    output_.forget();
  }
  std::string compare() override { return output_.compare(); }
  bool multiplies_integers() const override { return true; }
  double flops() const override {
    return 2.0 *
           static_cast<double>(kComponents * shape_.all_tiles() * shape_.channels * shape_.columns);
  }
  double bytes() const override {
    return static_cast<double>(weights_.size() + 2 * components_.size() +
                               shape_.pixels() * shape_.columns);
  }

 protected:
  virtual PackedMatrix weights() const { return direct_.matrix(); }
  BytePicture& picture() { return picture_; }
  // Makes the components of the picture and of these weights.
  void transform(const PackedMatrix& weights) {
    reference::integer_winograd_input({.input = picture_.bytes.data(),
                                       .input_row_stride = shape_.width * shape_.stride(),
                                       .input_pixel_stride = shape_.stride(),
                                       .height = shape_.height,
                                       .width = shape_.width,
                                       .channels = shape_.channels,
                                       .input_zero = picture_.zero,
                                       .output = components_.data(),
                                       .component_stride = component_stride(),
                                       .tile_stride = shape_.stride(),
                                       .first_tile = 0,
                                       .tiles = shape_.all_tiles()});
    pack_integer_winograd_panels({weights, panels(), panel_stride()}, 0,
                                 panel_count(shape_.columns));
  }

 private:
  size_t component_stride() const { return shape_.all_tiles() * shape_.stride(); }
  size_t product_stride() const { return shape_.all_tiles() * (shape_.columns + shape_.gap); }
  size_t panel_stride() const { return panel_elements(shape_.columns, shape_.channels); }
  int16_t* panels() { return reinterpret_cast<int16_t*>(weights_.data()); }
  IntegerWinogradOutputArgs args(const IntegerOutput& output) const {
    return {.input = products_.data(),
            .component_stride = product_stride(),
            .tile_stride = shape_.columns + shape_.gap,
            .weights = weights(),
            .output = output,
            .output_pixel_stride = shape_.columns + shape_.gap,
            .height = shape_.height,
            .width = shape_.width,
            .first_tile = 0,
            .tiles = shape_.all_tiles(),
            .epilogue = output_.epilogue(output)};
  }
  IntegerWinogradShape shape_;
  Random random_;
  BytePicture picture_;
  RandomQuads direct_;
  std::vector<int16_t> components_;
  GuardedBytes weights_;
  std::vector<int32_t> products_;
  IntegerProductOutput output_;
};

// The largest sums there are, of bytes of 255 and weights of one sign, over as many channels as the
// contract allows.
class LargestTilesCase : public IntegerOutputCase {
 public:
  static constexpr size_t kColumns = 20;
  explicit LargestTilesCase(size_t channels)
      : IntegerOutputCase({.height = 3, .width = 4, .channels = channels, .columns = kColumns}),
        depth_(9 * channels),
        panels_(panel_elements(kColumns, depth_, DataType::kI8)),
        scales_(kColumns, 100.0f / 255 / 64 / static_cast<float>(depth_)),
        sums_(kColumns) {
    std::fill_n(picture().bytes.data(), picture().bytes.size(), uint8_t{255});
    picture().zero = 255;
    auto* weights = reinterpret_cast<int8_t*>(panels_.data());
    for (size_t j = 0; j < kColumns; ++j) {
      constexpr int8_t kPairs[4][2] = {{64, 64}, {-64, -64}, {127, 1}, {-1, -127}};
      for (size_t k = 0; k < depth_; ++k) {
        weights[quad_panel_index(j, k, depth_)] = kPairs[j % 4][k % 2];
        sums_[j] += kPairs[j % 4][k % 2];
      }
    }
    transform({panels_.data(), kColumns, depth_, DataType::kI8});
  }

 private:
  PackedMatrix weights() const override {
    return {panels_.data(), kColumns, depth_, DataType::kI8, scales_.data(), sums_.data()};
  }
  size_t depth_;
  GuardedBytes panels_;
  std::vector<float> scales_;
  std::vector<int32_t> sums_;
};

template <class Case, class Shape>
void add(std::vector<CaseFactory>& cases, const Shape& shape, bool model_shape = false) {
  cases.push_back({shape.name(), model_shape, [shape] { return std::make_unique<Case>(shape); }});
}

constexpr size_t kSides[] = {1, 2, 3, 4, 5, 7, 8, 13};

}  // namespace

std::vector<CaseFactory> integer_winograd_input_cases() {
  std::vector<CaseFactory> cases;
  for (size_t channels = 4; channels <= 140; channels += 4) {
    const size_t i = channels / 4;
    add<IntegerInputCase>(cases, IntegerWinogradShape{.height = kSides[i % 8],
                                                      .width = kSides[(i * 3 + 1) % 8],
                                                      .channels = channels,
                                                      .gap = i % 3});
  }
  // More channels than a block outside the picture has.
  for (const size_t channels : {508u, 512u, 516u, 1028u})
    add<IntegerInputCase>(cases, IntegerWinogradShape{3, 4, channels});
  add<IntegerInputCase>(cases, IntegerWinogradShape{13, 9, 20, 16, 3, 4, 1});
  add<IntegerInputCase>(cases, IntegerWinogradShape{13, 9, 64, 16, 7, 0});
  add<IntegerInputCase>(cases, IntegerWinogradShape{56, 56, 64}, true);
  add<IntegerInputCase>(cases, IntegerWinogradShape{14, 14, 256}, true);
  return cases;
}

std::vector<CaseFactory> pair_gemm_cases() {
  std::vector<CaseFactory> cases;
  using Shape = PairGemmCase::Shape;
  // Twice the largest tile and one more, rows and columns.
  constexpr size_t kRows = 2 * kMaxTileRows + 1, kColumns = 65;
  constexpr size_t kDepths[] = {2, 4, 6, 8, 10, 66, 132};
  size_t i = 0;
  for (size_t rows = 1; rows <= kRows; ++rows) {
    for (size_t columns = 1; columns <= kColumns; ++columns, ++i)
      add<PairGemmCase>(cases, Shape{rows, kDepths[i % 7], columns, 2 * (i % 3), i % 5});
  }
  add<PairGemmCase>(cases, Shape{0, 4, 5});
  add<PairGemmCase>(cases, Shape{5, 4, 0});
  add<PairGemmCase>(cases, Shape{40, 2048, 100});
  add<PairGemmCase>(cases, Shape{126, 64, 64}, true);
  add<PairGemmCase>(cases, Shape{66, 128, 128}, true);
  add<PairGemmCase>(cases, Shape{49, 256, 256}, true);
  add<PairGemmCase>(cases, Shape{240, 32, 32}, true);
  return cases;
}

std::vector<CaseFactory> integer_winograd_output_cases() {
  std::vector<CaseFactory> cases;
  const auto kind = IntegerEpilogueKind::nth;
  size_t i = 0;
  for (const size_t height : kSides) {
    for (const size_t width : {1u, 2u, 6u, 13u, 25u, 30u}) {
      for (const size_t columns : {i * 7 % 67 + 1, size_t{16} << i % 3}) {
        add<IntegerOutputCase>(
            cases, IntegerWinogradShape{height, width, i * 5 % 23 * 4 + 4, columns, 0, SIZE_MAX,
                                        i % 3, kind(i * 5)});
        ++i;
      }
    }
  }
  for (i = 0; i < IntegerEpilogueKind::kCount; ++i) {
    add<IntegerOutputCase>(cases, IntegerWinogradShape{7, 27, 8, 64, 0, SIZE_MAX, i % 2, kind(i)});
    add<IntegerOutputCase>(cases, IntegerWinogradShape{6, 14, 12, 43, 0, SIZE_MAX, i % 2, kind(i)});
  }
  for (const size_t channels : {size_t{4}, size_t{512}, kMaxIntegerWinogradChannels}) {
    cases.push_back({"largest sums of " + std::to_string(channels), false,
                     [channels] { return std::make_unique<LargestTilesCase>(channels); }});
  }
  constexpr IntegerEpilogueKind kRelu = {.activation = Activation::kRelu};
  constexpr IntegerEpilogueKind kBottleneck = {
      .activation = Activation::kSilu, .residual = Residual::kAfter, .spread = 2000};
  const auto add_model = [&](size_t height, size_t width, size_t channels,
                             const IntegerEpilogueKind& epilogue) {
    add<IntegerOutputCase>(
        cases, IntegerWinogradShape{height, width, channels, channels, 0, SIZE_MAX, 0, epilogue},
        true);
  };
  add_model(56, 56, 64, kRelu);
  add_model(28, 28, 128, kRelu);
  add_model(14, 14, 256, kRelu);
  add_model(60, 80, 32, kBottleneck);
  return cases;
}

}  // namespace lightcap::internal::testing
