#include <cmath>

#include "kernels/reference/reference.h"
#include "tests/kernels/matrix_case.h"

namespace lightcap::internal::testing {
namespace {

struct AttentionShape {
  size_t rows, head_size, shared, own, causal, gap = 0;
  float spread = 1;  // of queries: larger ones make sharper attention

  std::string name() const {
    return std::to_string(rows) + " rows x " + std::to_string(shared) + "+" + std::to_string(own) +
           " keys, head " + std::to_string(head_size);
  }
  size_t own_rows() const { return own + (rows - 1) * causal; }
};

class AttentionCase : public KernelCase {
 public:
  explicit AttentionCase(const AttentionShape& shape)
      : shape_(shape),
        random_(shape.rows + 100 * shape.shared + 10000 * shape.own),
        queries_(shape.rows, shape.head_size, shape.gap, random_, shape.spread),
        shared_keys_(shape.head_size, shape.shared, shape.gap, random_),
        shared_values_(shape.shared, shape.head_size, shape.gap, random_),
        own_keys_(shape.head_size, shape.own_rows(), shape.gap, random_),
        own_values_(shape.own_rows(), shape.head_size, shape.gap, random_),
        scores_stride_((shape.shared + shape.own + shape.rows + 32 + 15) / 16 * 16),
        scores_(kMostAttentionRows * scores_stride_),
        output_(shape.rows, shape.head_size, shape.gap) {}

  void run(const KernelTable& kernels) override { kernels.attention(args(output_.actual)); }
  void run_reference() override { reference::attention(args(output_.expected)); }

  // A score is off by its dot product's roundings; exp turns that into a relative error of the
  // weights, numerator and denominator alike; the weighted sum adds one rounding a key.
  std::string compare() override {
    return output_.compare([&](size_t row, size_t d) {
      double top = -1e300, score_error = 0, magnitude = 0, sum = 0;
      const size_t keys = shape_.shared + shape_.own + row * shape_.causal;
      std::vector<double> scores(keys);
      for (size_t key = 0; key < keys; ++key) {
        double magnitudes = 0;
        for (size_t k = 0; k < shape_.head_size; ++k) {
          const double product = static_cast<double>(queries_.row(row)[k]) * key_at(key, k);
          scores[key] += product;
          magnitudes += std::fabs(product);
        }
        scores[key] *= scale();
        top = std::max(top, scores[key]);
        score_error = std::max(score_error, scale() * dot_bound(shape_.head_size + 2, magnitudes));
      }
      double spread = 0;
      for (const double score : scores) spread = std::max(spread, top - score);
      for (double& score : scores) sum += score = std::exp(score - top);
      for (size_t key = 0; key < keys; ++key)
        magnitude += scores[key] / sum * std::fabs(value_at(key, d));
      return magnitude * (2 * score_error + kUnit * (2 * static_cast<double>(keys) + spread + 16)) +
             1e-37;
    });
  }
  double flops() const override {
    return 4.0 * static_cast<double>(shape_.rows * (shape_.shared + shape_.own) * shape_.head_size);
  }
  double bytes() const override {
    return 8.0 * static_cast<double>((shape_.shared + shape_.own + shape_.rows) * shape_.head_size);
  }

 private:
  double scale() const { return 1 / std::sqrt(static_cast<double>(shape_.head_size)); }
  double key_at(size_t key, size_t k) const {
    return static_cast<double>(key < shape_.shared ? shared_keys_.row(k)[key]
                                                   : own_keys_.row(k)[key - shape_.shared]);
  }
  double value_at(size_t key, size_t d) const {
    return static_cast<double>(key < shape_.shared ? shared_values_.row(key)[d]
                                                   : own_values_.row(key - shape_.shared)[d]);
  }
  AttentionArgs args(GappedMatrix& output) {
    return {.queries = queries_.data(),
            .query_stride = queries_.stride,
            .rows = shape_.rows,
            .head_size = shape_.head_size,
            .scale = static_cast<float>(scale()),
            .shared = {shared_keys_.data(), shared_keys_.stride, shared_values_.data(),
                       shared_values_.stride, shape_.shared},
            .own = {own_keys_.data(), own_keys_.stride, own_values_.data(), own_values_.stride,
                    shape_.own},
            .causal = shape_.causal,
            .scores = scores_.data(),
            .scores_stride = scores_stride_,
            .output = output.data(),
            .output_stride = output.stride};
  }

  AttentionShape shape_;
  Random random_;
  GappedMatrix queries_, shared_keys_, shared_values_, own_keys_, own_values_;
  size_t scores_stride_;
  GuardedFloats scores_;
  OutputPair output_;
};

}  // namespace

std::vector<CaseFactory> attention_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](const AttentionShape& shape, bool model_shape = false) {
    cases.push_back(
        {shape.name(), model_shape, [shape] { return std::make_unique<AttentionCase>(shape); }});
  };
  for (size_t n = 1; n <= 35; ++n) {
    add({.rows = n % 7 + 1, .head_size = n, .shared = 20, .own = 3, .causal = 1, .gap = n % 4});
    add({.rows = 2, .head_size = 26, .shared = n, .own = 0, .causal = 0, .gap = n % 3});
    add({.rows = 2, .head_size = 26, .shared = 0, .own = n, .causal = n % 2, .gap = n % 3});
    add({.rows = 1, .head_size = 26, .shared = 36 - n, .own = n, .causal = 1, .spread = 30});
  }
  add({.rows = 85, .head_size = 26, .shared = 85, .own = 0, .causal = 0},
      true);  // a prompt against itself
  add({.rows = 2, .head_size = 26, .shared = 85, .own = 19, .causal = 1},
      true);  // the last step
  return cases;
}

}  // namespace lightcap::internal::testing
