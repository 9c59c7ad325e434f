#include <cmath>
#include <cstring>

#include "kernels/pack.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/product_case.h"

namespace lightcap::internal::testing {
namespace {

struct GemmShape {
  size_t rows, depth, columns;
  size_t a_gap = 0, c_gap = 0;  // how much wider than its row a stride is
  EpilogueKind epilogue = {};
  DataType type = DataType::kF32;  // of the weights

  std::string name() const {
    const std::string narrow =
        type == DataType::kF32 ? "" : std::string(" ") + data_type_name(type);
    return std::to_string(rows) + "x" + std::to_string(depth) + " n" + std::to_string(columns) +
           epilogue.name() + narrow;
  }
};

class GemmCase : public KernelCase {
 public:
  explicit GemmCase(const GemmShape& shape)
      : shape_(shape),
        random_(shape.rows + 100 * shape.columns + 10000 * shape.depth),
        a_(strided_floats(shape.rows, shape.depth, a_stride())),
        weights_(shape.columns, shape.depth, random_, shape.type),
        output_({shape.rows, shape.columns, c_stride(), 0, shape.rows}, shape.epilogue, random_) {
    random_.fill(a_.data(), shape.rows, shape.depth, a_stride());
  }

  void run(const KernelTable& kernels) override { kernels.gemm(args(output_.actual())); }
  void run_reference() override { reference::gemm(args(output_.expected())); }

  std::string compare() override {
    std::vector<double> row_norms(shape_.rows);
    for (size_t i = 0; i < shape_.rows; ++i) {
      double sum = 0;
      for (size_t k = 0; k < shape_.depth; ++k)
        sum += std::pow(static_cast<double>(a_[i * a_stride() + k]), 2);
      row_norms[i] = std::sqrt(sum);
    }
    return output_.compare(shape_.depth, row_norms, output_norms(weights_.matrix()));
  }

  double flops() const override {
    return 2.0 * static_cast<double>(shape_.rows * shape_.depth * shape_.columns);
  }
  double bytes() const override {
    return static_cast<double>(weights_.matrix().bytes()) +
           4.0 * static_cast<double>(shape_.rows * shape_.depth + shape_.rows * shape_.columns);
  }

 protected:
  GemmArgs args(float* c) const {
    return {.a = a_.data(),
            .a_stride = a_stride(),
            .weights = weights_.matrix(),
            .c = c,
            .c_stride = c_stride(),
            .rows = shape_.rows,
            .epilogue = output_.epilogue(c),
            .next_panels = prefetched_panels(weights_.matrix(), shape_.rows)};
  }
  size_t a_stride() const { return shape_.depth + shape_.a_gap; }
  size_t c_stride() const { return shape_.columns + shape_.c_gap; }

  GemmShape shape_;
  Random random_;
  GuardedFloats a_;
  RandomWeights weights_;
  ProductOutput output_;
};

// A row's result must not depend, bit for bit, on the rows and columns that are computed with it.
class GemmSplitCase : public GemmCase {
 public:
  using GemmCase::GemmCase;

  void run(const KernelTable& kernels) override {
    difference_.clear();
    const GemmArgs whole = args(output_.actual());
    kernels.gemm(whole);
    std::vector<float> pieces(shape_.rows * c_stride());
    for (size_t rows = 1; rows < shape_.rows; ++rows) {
      for (size_t row = 0; row < shape_.rows; row += rows) {
        GemmArgs piece = whole;
        piece.a += row * whole.a_stride;
        piece.c = pieces.data() + row * whole.c_stride;
        piece.rows = std::min(rows, shape_.rows - row);
        kernels.gemm(piece);
      }
      check(whole, pieces, std::to_string(rows) + " rows at a time");
    }
    for (size_t panels = 1; panels < panel_count(shape_.columns); ++panels) {
      for (size_t column = 0; column < shape_.columns; column += panels * kPanelWidth) {
        GemmArgs piece = whole;
        piece.weights =
            whole.weights.slice(column, std::min(panels * kPanelWidth, shape_.columns - column));
        piece.c = pieces.data() + column;
        piece.epilogue.bias += column;
        kernels.gemm(piece);
      }
      check(whole, pieces, std::to_string(panels) + " panels at a time");
    }
  }

  std::string compare() override {
    const std::string difference = GemmCase::compare();
    return difference_.empty() ? difference : difference_;
  }

 private:
  void check(const GemmArgs& whole, std::vector<float>& pieces, const std::string& how) {
    for (size_t row = 0; row < shape_.rows; ++row) {
      if (std::memcmp(whole.c + row * whole.c_stride, pieces.data() + row * whole.c_stride,
                      shape_.columns * sizeof(float)) != 0) {
        difference_ = how + ": row " + std::to_string(row) + " has other bits";
      }
    }
    std::fill(pieces.begin(), pieces.end(), 0.0f);
  }

  std::string difference_;
};

template <class Case>
CaseFactory factory(const GemmShape& shape, bool model_shape, const std::string& prefix = "") {
  return {prefix + shape.name(), model_shape, [shape] { return std::make_unique<Case>(shape); }};
}

// The graph's own products: an encoder at 224 x 224 in tasks of 96 pixels, the narrow layers of a
// detector at 480 x 640, the concepts, the fusion over 49 or more keys, and the decoder's few rows.
void add_model_shapes(std::vector<CaseFactory>& cases) {
  constexpr EpilogueKind kPlain = {};
  constexpr EpilogueKind kRelu = {.activation = Activation::kRelu};
  constexpr EpilogueKind kSilu = {.activation = Activation::kSilu};
  constexpr EpilogueKind kGelu = {.activation = Activation::kGelu};
  constexpr EpilogueKind kBlock = {.residual = Residual::kBefore, .activation = Activation::kRelu};
  const GemmShape shapes[] = {
      {96, 64, 64, 0, 0, kRelu},     {96, 64, 256, 0, 0, kBlock},    {96, 256, 64, 0, 0, kRelu},
      {96, 128, 512, 0, 0, kBlock},  {96, 512, 128, 0, 0, kRelu},    {96, 256, 1024, 0, 16, kBlock},
      {96, 1024, 256, 16, 0, kRelu}, {49, 512, 2048, 0, 16, kBlock}, {49, 2048, 512, 16, 0, kRelu},
      {96, 32, 16, 0, 16, kSilu},    {96, 64, 64, 0, 0, kSilu},      {96, 256, 255, 0, 0, kPlain},
      {51, 312, 312, 0, 0, kPlain},  {51, 312, 1200, 0, 0, kGelu},   {20, 312, 1200, 0, 0, kGelu},
      {1, 312, 312, 0, 0, kPlain},   {1, 312, 1200, 0, 0, kGelu},    {3, 312, 1200, 0, 0, kGelu},
      {3, 1200, 312, 0, 0, kPlain},  {5, 312, 1200, 0, 0, kGelu},    {8, 312, 1200, 0, 0, kPlain},
  };
  for (const GemmShape& shape : shapes) cases.push_back(factory<GemmCase>(shape, true));
  // The decoder's rows and one large layer with narrow weights.
  for (const DataType type : {DataType::kF16, DataType::kBf16}) {
    for (GemmShape shape : {shapes[6], shapes[15], shapes[18]}) {
      shape.type = type;
      cases.push_back(factory<GemmCase>(shape, true));
    }
  }
}

}  // namespace

std::vector<CaseFactory> gemm_cases() {
  std::vector<CaseFactory> cases;
  // Twice the largest tile and one more, rows and columns; the tile's depth is a plain loop.
  constexpr size_t kRows = 2 * kMaxTileRows + 1, kColumns = 65;
  constexpr size_t kDepths[] = {1, 2, 3, 8, 17, 33};
  size_t i = 0;
  for (size_t rows = 1; rows <= kRows; ++rows) {
    for (size_t columns = 1; columns <= kColumns; ++columns, ++i) {
      // 7 and 50 have no common factor: every epilogue meets every kind of tail.
      cases.push_back(factory<GemmCase>({rows, kDepths[i % 6], columns, i % 3, i % 5,
                                         EpilogueKind::nth(7 * i % EpilogueKind::kCount)},
                                        false));
    }
  }
  for (const DataType type : {DataType::kF16, DataType::kBf16}) {
    for (size_t rows = 1; rows <= kRows; ++rows) {
      for (const size_t columns : {size_t{1}, size_t{16}, size_t{43}, kColumns, size_t{128}}) {
        ++i;
        cases.push_back(factory<GemmCase>({rows, kDepths[i % 6], columns, i % 3, i % 5,
                                           EpilogueKind::nth(7 * i % EpilogueKind::kCount), type},
                                          false));
      }
    }
  }
  for (size_t depth = 1; depth <= 33; ++depth)
    cases.push_back(factory<GemmCase>({depth % 13 + 1, depth, 33, 1, 2, {}}, false));
  for (size_t kind = 0; kind < EpilogueKind::kCount; ++kind) {
    cases.push_back(factory<GemmCase>({13, 9, 64, 0, 0, EpilogueKind::nth(kind)}, false));
    cases.push_back(factory<GemmCase>({7, 9, 43, 3, 3, EpilogueKind::nth(kind)}, false));
  }
  cases.push_back(factory<GemmCase>({0, 3, 5, 0, 0, {}}, false));
  cases.push_back(factory<GemmCase>({5, 3, 0, 0, 0, {}}, false));
  for (const size_t depth : {size_t{5}, size_t{312}})
    for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16})
      cases.push_back(
          factory<GemmSplitCase>({kRows, depth, 85, 0, 0, {}, type}, false, "in pieces, "));
  add_model_shapes(cases);
  return cases;
}

}  // namespace lightcap::internal::testing
