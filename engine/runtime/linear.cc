// Linear layers, with weights of floats or of int8.
#include "engine/runtime/error.h"
#include "engine/runtime/op_tasks.h"

namespace lightcap::internal {
namespace {

bool is_int8(const Linear& linear) { return linear.weights.type == DataType::kI8; }

LayerWork linear_work(std::string_view name, const Linear& linear, size_t rows, size_t out,
                      bool has_residual) {
  const size_t floats = rows * (linear.in() + out * (has_residual ? 2 : 1));
  const size_t weights = linear.in() * out * data_type_bytes(linear.weights.type);
  return {.name = name,
          .kernel = is_int8(linear) ? "wide_gemm" : "gemm",
          .height = rows,
          .channels = linear.in(),
          .out = out,
          .macs = static_cast<double>(rows * linear.in() * out),
          .bytes = static_cast<double>(floats * sizeof(float) + weights),
          .integer_passes = is_int8(linear) ? 2 : 0};
}

// A product as tasks, of which each computes a part of the rows and columns.
class Product {
 public:
  Product() = default;
  // `wide` is made of `a` where the weights are int8.
  Product(const Runtime& runtime, const Linear& linear, Matrix a, const WideRows& wide, Matrix c,
          const Fused& fused)
      : linear_(&linear), a_(a), wide_(wide), c_(c), fused_(fused) {
    // Wide rows are multiplied twice, once for each of their planes.
    tiles_ = grid(runtime, a.rows, linear.weights, is_int8(linear) ? 2 : 1);
    runtime.plan_steps((is_int8(linear) ? 2 : 1) *
                       product_steps(a.rows, linear.in(), linear.out()));
  }

  size_t tasks() const { return tiles_.tasks(); }

  void run(const KernelTable& kernels, size_t task) const {
    const TilePart part = tiles_.part(task);
    float* const c = c_.row(part.row) + part.column;
    const Epilogue epilogue = shifted(epilogue_of(linear_->bias, fused_), part.row, part.column);
    if (is_int8(*linear_)) {
      kernels.wide_gemm({.planes = wide_.row(part.row),
                         .scales = wide_.scales + part.row,
                         .weights = part.weights,
                         .c = c,
                         .c_stride = c_.stride,
                         .rows = part.rows,
                         .epilogue = epilogue,
                         .next_panels = part.next_panels});
    } else {
      kernels.gemm({.a = a_.row(part.row),
                    .a_stride = a_.stride,
                    .weights = part.weights,
                    .c = c,
                    .c_stride = c_.stride,
                    .rows = part.rows,
                    .epilogue = epilogue,
                    .next_panels = part.next_panels});
    }
  }

 private:
  const Linear* linear_ = nullptr;
  Matrix a_;
  WideRows wide_;
  Matrix c_;
  Fused fused_;
  Grid tiles_ = {};
};

// The rows of a matrix as a column of pixels.
Tensor column_of(const Matrix& x) { return {x.data, x.rows, 1, x.columns, x.stride, x.stride}; }

}  // namespace

WideRows quantize_rows(const Runtime& runtime, Matrix x) {
  const size_t row_bytes = 2 * panel_depth(x.columns, DataType::kI8);
  const WideRows wide = {runtime.arena.elements<uint8_t>(x.rows * row_bytes),
                         runtime.arena.floats(x.rows), x.columns};
  runtime.plan_steps(2 * static_cast<double>(x.rows * x.columns));
  const Split rows = split(x.rows, 1, x.rows / 24);
  runtime.parallel_for(rows.pieces, [&](size_t task) {
    const auto [begin, count] = rows[task];
    runtime.kernels.quantize_rows({.x = x.row(begin),
                                   .x_stride = x.stride,
                                   .planes = wide.row(begin),
                                   .scales = wide.scales + begin,
                                   .rows = count,
                                   .columns = x.columns});
  });
  return wide;
}

void multiply(const Runtime& runtime, const Linear& weights, Matrix a, Matrix c,
              const Fused& fused) {
  const Arena::Scope scope(runtime.arena);
  const Observed observed(runtime, [&] {
    return linear_work(weights.name, weights, a.rows, weights.out(), fused.residual != nullptr);
  });
  const WideRows wide = is_int8(weights) ? quantize_rows(runtime, a) : WideRows{};
  const Product product(runtime, weights, a, wide, c, fused);
  runtime.parallel_for(product.tasks(), [&](size_t task) { product.run(runtime.kernels, task); });
}

void linear(const Runtime& runtime, const Linear& weights, Matrix a, Matrix c, const Fused& fused) {
  tapped(
      runtime,
      [&] {
        return TappedOperation{.kind = TappedOperation::Kind::kLinear,
                               .input = column_of(a),
                               .output = column_of(c),
                               .linear = &weights,
                               .fused = &fused};
      },
      [&] { multiply(runtime, weights, a, c, fused); });
}

void linears(const Runtime& runtime, Matrix a, std::initializer_list<LinearOutput> outputs) {
  if (outputs.size() > kMaxLinears) throw Error(ErrorCode::kInternal, "too many linear layers");
  if (runtime.tap != nullptr) {  // which sees one layer at a time
    for (const LinearOutput& output : outputs) linear(runtime, *output.weights, a, output.c);
    return;
  }
  const Linear& first = *outputs.begin()->weights;
  const Arena::Scope scope(runtime.arena);
  const Observed observed(runtime, [&] {
    size_t out = 0;
    for (const LinearOutput& output : outputs) out += output.weights->out();
    // All are of one module.
    return linear_work(first.name.substr(0, first.name.rfind('.')), first, a.rows, out, false);
  });
  const WideRows wide = is_int8(first) ? quantize_rows(runtime, a) : WideRows{};
  Product products[kMaxLinears];
  size_t tasks = 0, count = 0;
  for (const LinearOutput& output : outputs) {
    products[count] = Product(runtime, *output.weights, a, wide, output.c, {});
    tasks += products[count++].tasks();
  }
  runtime.parallel_for(tasks, [&](size_t task) {
    const Product* product = products;
    for (; task >= product->tasks(); ++product) task -= product->tasks();
    product->run(runtime.kernels, task);
  });
}

}  // namespace lightcap::internal
