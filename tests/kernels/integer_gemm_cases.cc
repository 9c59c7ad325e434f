#include <cstring>

#include "kernels/reference/reference.h"
#include "tests/kernels/integer_case.h"

namespace lightcap::internal::testing {
namespace {

struct IntegerGemmShape {
  size_t rows, depth, columns;
  size_t a_gap = 0, c_gap = 0;
  IntegerEpilogueKind epilogue = {};

  std::string name() const {
    return std::to_string(rows) + "x" + std::to_string(depth) + " n" + std::to_string(columns) +
           epilogue.name();
  }
};

class IntegerGemmCase : public KernelCase {
 public:
  explicit IntegerGemmCase(const IntegerGemmShape& shape)
      : shape_(shape),
        random_(shape.rows + 100 * shape.columns + 10000 * shape.depth),
        a_(strided_floats(shape.rows, shape.depth, a_stride())),
        weights_(shape.columns, shape.depth, random_, shape.epilogue.spread),
        output_({shape.rows, shape.columns, shape.columns + shape.c_gap, 0, shape.rows},
                shape.epilogue, random_) {
    fill_bytes(random_, a_.data(), a_.size());
  }

  void run(const KernelTable& kernels) override { kernels.integer_gemm(args(output_.actual())); }
  void run_reference() override {
    reference::integer_gemm(args(output_.expected()));
    output_.forget();
  }
  std::string compare() override { return output_.compare(); }
  bool multiplies_integers() const override { return true; }
  double flops() const override {
    return 2.0 * static_cast<double>(shape_.rows * shape_.depth * shape_.columns);
  }
  double bytes() const override {
    return static_cast<double>(weights_.matrix().bytes() + shape_.rows * shape_.depth +
                               shape_.rows * shape_.columns * (shape_.epilogue.is_float ? 4 : 1));
  }

 protected:
  size_t a_stride() const { return shape_.depth + shape_.a_gap; }
  IntegerGemmArgs args(const IntegerOutput& c) const {
    return {.a = a_.data(),
            .a_stride = a_stride(),
            .weights = weights_.matrix(),
            .c = c,
            .c_stride = shape_.columns + shape_.c_gap,
            .rows = shape_.rows,
            .epilogue = output_.epilogue(c),
            .next_panels = prefetched_panels(weights_.matrix(), shape_.rows)};
  }

  IntegerGemmShape shape_;
  Random random_;
  GuardedBytes a_;
  RandomQuads weights_;
  IntegerProductOutput output_;
};

// Every sum that SiLU's 16 bits can hold, and some beyond: the biases alone make them, as the rows
// are zeros and the scales 1.
class EverySiluCase : public IntegerGemmCase {
 public:
  static constexpr size_t kColumns = 65536 + 400;
  explicit EverySiluCase(Residual residual)
      : IntegerGemmCase({.rows = 2,
                         .depth = 4,
                         .columns = kColumns,
                         .epilogue = {.activation = Activation::kSilu, .residual = residual}}),
        ones_(kColumns, 1.0f) {
    std::fill_n(a_.data(), a_.size(), uint8_t{0});
    for (size_t j = 0; j < kColumns; ++j)
      output_.bias()[j] = static_cast<int32_t>(j) - static_cast<int32_t>(kColumns / 2);
  }
  void run(const KernelTable& kernels) override {
    kernels.integer_gemm(with_ones(output_.actual()));
  }
  void run_reference() override {
    reference::integer_gemm(with_ones(output_.expected()));
    output_.forget();
  }

 private:
  IntegerGemmArgs with_ones(const IntegerOutput& c) const {
    IntegerGemmArgs all = args(c);
    all.weights.scales = ones_.data();
    return all;
  }
  std::vector<float> ones_;
};

// The largest sums there are: bytes of 255 with weights in pairs of 64 and 64, or 127 and 1, all of
// one sign. An instruction that adds such products with saturation to 16 bits must not reach it.
class LargestSumsCase : public IntegerGemmCase {
 public:
  explicit LargestSumsCase(size_t depth)
      : IntegerGemmCase({.rows = 7, .depth = depth, .columns = 20}),
        panels_(panel_elements(20, depth, DataType::kI8) / 4) {
    std::fill_n(a_.data(), a_.size(), uint8_t{255});
    auto* weights = reinterpret_cast<int8_t*>(panels_.data());
    for (size_t j = 0; j < 20; ++j) {
      constexpr int8_t kPairs[4][2] = {{64, 64}, {-64, -64}, {127, 1}, {-1, -127}};
      sums_.push_back(0);
      for (size_t k = 0; k < depth; ++k) {
        const int8_t weight = kPairs[j % 4][k % 2];
        weights[quad_panel_index(j, k, depth)] = weight;
        sums_[j] += weight;
      }
      scales_.push_back(100.0f / 255 / 128 / static_cast<float>(depth));
    }
  }
  void run(const KernelTable& kernels) override { kernels.integer_gemm(largest(output_.actual())); }
  void run_reference() override {
    reference::integer_gemm(largest(output_.expected()));
    output_.forget();
  }

 private:
  IntegerGemmArgs largest(const IntegerOutput& c) const {
    IntegerGemmArgs all = args(c);
    all.weights.data = panels_.data();
    all.weights.scales = scales_.data();
    all.weights.sums = sums_.data();
    return all;
  }
  GuardedFloats panels_;
  std::vector<float> scales_;
  std::vector<int32_t> sums_;
};

// The products of an encoder and a detector as their graphs run them, in tasks of 96 rows.
void add_model_shapes(std::vector<CaseFactory>& cases) {
  constexpr IntegerEpilogueKind kRelu = {.activation = Activation::kRelu};
  constexpr IntegerEpilogueKind kSilu = {.activation = Activation::kSilu, .spread = 2000};
  constexpr IntegerEpilogueKind kBlock = {.activation = Activation::kRelu,
                                          .residual = Residual::kBefore};
  constexpr IntegerEpilogueKind kFloats = {.is_float = true};
  const IntegerGemmShape shapes[] = {
      {96, 64, 64, 0, 0, kRelu},     {96, 64, 256, 0, 0, kBlock},   {96, 256, 64, 0, 0, kRelu},
      {96, 128, 512, 0, 0, kBlock},  {96, 512, 128, 0, 0, kRelu},   {96, 256, 1024, 0, 0, kBlock},
      {96, 1024, 256, 0, 0, kRelu},  {49, 512, 2048, 0, 0, kBlock}, {49, 2048, 512, 0, 0, kRelu},
      {96, 16, 16, 0, 0, kSilu},     {96, 32, 16, 0, 16, kSilu},    {96, 32, 32, 0, 0, kSilu},
      {96, 64, 64, 0, 0, kSilu},     {96, 128, 128, 0, 0, kSilu},   {96, 256, 256, 0, 0, kSilu},
      {96, 256, 255, 0, 1, kFloats},
  };
  for (const IntegerGemmShape& shape : shapes) {
    cases.push_back(
        {shape.name(), true, [shape] { return std::make_unique<IntegerGemmCase>(shape); }});
  }
}

}  // namespace

std::vector<CaseFactory> integer_gemm_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const IntegerGemmShape& shape) {
    cases.push_back(
        {shape.name(), false, [shape] { return std::make_unique<IntegerGemmCase>(shape); }});
  };
  // Twice the largest tile and one more, rows and columns.
  constexpr size_t kRows = 2 * kMaxTileRows + 1, kColumns = 65;
  constexpr size_t kDepths[] = {4, 8, 12, 16, 20, 68, 132};
  size_t i = 0;
  for (size_t rows = 1; rows <= kRows; ++rows) {
    for (size_t columns = 1; columns <= kColumns; ++columns, ++i) {
      // 7 and 24 have no common factor: every epilogue meets every kind of tail.
      add({rows, kDepths[i % 7], columns, 4 * (i % 3), i % 5, IntegerEpilogueKind::nth(7 * i)});
    }
  }
  for (size_t depth = 4; depth <= 132; depth += 4) add({depth % 13 + 1, depth, 33, 4, 2, {}});
  for (size_t kind = 0; kind < IntegerEpilogueKind::kCount; ++kind) {
    for (const size_t rows : {1u, 2u, 3u, 13u}) {
      add({rows, 36, 64, 0, 0, IntegerEpilogueKind::nth(kind)});
      add({rows, 36, 128, 0, 0, IntegerEpilogueKind::nth(kind)});
      add({rows, 36, 43, 8, 3, IntegerEpilogueKind::nth(kind)});
    }
  }
  add({0, 4, 5, 0, 0, {}});
  add({5, 4, 0, 0, 0, {}});
  for (const Residual residual : {Residual::kNone, Residual::kAfter}) {
    cases.push_back(
        {"every silu", false, [residual] { return std::make_unique<EverySiluCase>(residual); }});
  }
  for (const size_t depth : {size_t{4}, size_t{4608}, kMaxIntegerDepth}) {
    cases.push_back({"largest sums of " + std::to_string(depth), false,
                     [depth] { return std::make_unique<LargestSumsCase>(depth); }});
  }
  add_model_shapes(cases);
  return cases;
}

}  // namespace lightcap::internal::testing
