#include "models/ensemble_head.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/runtime/split.h"

namespace lightcap::internal {
namespace {

// The words that one task computes: 1.25 MB of the embedding at d = 312, and their logits fit into
// L1.
constexpr size_t kChunk = 1024;

// The work of one pass over the words: it reads their embeddings, of depth 0 where it doesn't, and
// `floats` other floats a word.
LayerWork head_work(std::string_view kernel, size_t rows, const PackedMatrix& embeddings,
                    size_t floats) {
  const size_t d = embeddings.depth, words = embeddings.outputs;
  return {.name = "head",
          .kernel = kernel,
          .height = rows,
          .channels = d,
          .out = words,
          .macs = static_cast<double>(rows * d * words),
          .bytes = static_cast<double>((rows * d + floats * words) * sizeof(float) +
                                       d * words * data_type_bytes(embeddings.type)),
          .integer_passes = embeddings.type == DataType::kI8 ? 2 : 0};
}

// A chunk's likeliest word of a branch has at least its share of that branch's probability, and no
// two chunks share a word: so `best` words are as likely as the chunk that is the `best`-th by this
// bound. `maximum` is [chunks][beams * branches], `bounds` scratch, [chunks].
float floor_of(Matrix maximum, size_t beam, size_t branches, const float* log_sum_exp, size_t best,
               float* bounds) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  if (best > maximum.rows) return kLowest;
  for (size_t chunk = 0; chunk < maximum.rows; ++chunk) {
    bounds[chunk] = kLowest;
    for (size_t row = beam * branches; row < (beam + 1) * branches; ++row)
      bounds[chunk] = std::max(bounds[chunk], maximum.row(chunk)[row] - log_sum_exp[row]);
  }
  std::nth_element(bounds, bounds + best - 1, bounds + maximum.rows, std::greater<>());
  const float bound = bounds[best - 1];
  constexpr float kRounding = 1e-5f;  // tens of roundings
  return bound - std::log(static_cast<float>(branches)) - kRounding * (1 + std::fabs(bound));
}

}  // namespace

EnsembleHead::EnsembleHead(const Weights& weights)
    : word_embedding_(weights), ensemble_(weights.config().head.ensemble) {
  weights.load(*this);
}

size_t EnsembleHead::chunks() const { return ceil_div(words(), kChunk); }

size_t EnsembleHead::chunk_words(size_t chunk) const {
  return std::min(kChunk, words() - chunk * kChunk);
}

EnsembleHead::Scratch EnsembleHead::scratch(Arena& arena, size_t beams) const {
  Scratch s;
  s.beams = beams;
  s.branches = ensemble_ == Ensemble::kMeanLogit ? 1 : branches_.size();
  // Before branches are averaged it has rows for all of them.
  s.z = arena.matrix(beams * branches_.size(), word_embedding_.width());
  s.logits = arena.matrix(s.rows(), words());
  s.maximum = arena.matrix(chunks(), s.rows());
  s.exp_sum = arena.matrix(chunks(), s.rows());
  s.log_sum_exp = arena.floats(s.rows());
  s.floors = arena.floats(beams);
  s.bounds = arena.floats(chunks());
  return s;
}

// z [beams * branches][d] = LayerNorm_k(gelu(dense_k h)) of every branch k.
void EnsembleHead::transform(const Runtime& runtime, Matrix hidden, Matrix z) const {
  for (size_t i = 0; i < branches_.size(); ++i) {
    const Matrix own = {z.row(i), hidden.rows, z.columns, branches_.size() * z.stride};
    linear(runtime, branches_[i].dense, hidden, own, {.activation = Activation::kGelu});
    layer_norm(runtime, branches_[i].norm, own, own);
  }
}

// Logits are linear in z, so their mean is the logits of the mean. Beam i's mean goes to row i,
// which is read no more: beams come in ascending order.
void EnsembleHead::average_branches(const Runtime& runtime, size_t beams, Matrix z) const {
  const size_t branches = branches_.size();
  runtime.serial([&] {
    for (size_t beam = 0; beam < beams; ++beam) {
      for (size_t k = 0; k < z.columns; ++k) {
        float sum = 0;
        for (size_t i = 0; i < branches; ++i) sum += z.row(beam * branches + i)[k];
        z.row(beam)[k] = sum / static_cast<float>(branches);
      }
    }
  });
}

// Logits of all words, and each chunk's part of the softmax' denominator. The kernel takes
// kMaxHeadRows rows at once; more than that come in groups, chunk by chunk, so that the chunk's
// words are still in the cache.
void EnsembleHead::multiply(const Runtime& runtime, const Scratch& s, bool last_words_first) const {
  const size_t rows = s.rows();
  const bool is_int8 = word_embedding_.matrix.type == DataType::kI8;
  const Observed observed(runtime, [&] {
    return head_work(is_int8 ? "wide_head_logits" : "head_logits", rows, word_embedding_.matrix,
                     rows + 1);
  });
  constexpr size_t kWordSteps = 48;  // a word's exponentials, and finding the best
  runtime.plan_steps(static_cast<double>(rows * words()) *
                     static_cast<double>(word_embedding_.width() + kWordSteps));
  const Arena::Scope scope(runtime.arena);
  const WideRows wide = is_int8 ? quantize_rows(runtime, s.z.first_rows(rows)) : WideRows{};
  runtime.parallel_for(chunks(), [&](size_t task) {
    const size_t chunk = last_words_first ? chunks() - 1 - task : task;
    const size_t first = chunk * kChunk;
    for (size_t row = 0; row < rows; row += kMaxHeadRows) {
      // Fills in the arguments that both kernels share.
      const auto with_common = [&](auto& args) -> auto& {
        args.weights = word_embedding_.matrix.slice(first, chunk_words(chunk));
        args.bias = bias_ + first;
        args.logits = s.logits.row(row) + first;
        args.logits_stride = s.logits.stride;
        args.maximum = s.maximum.row(chunk) + row;
        args.exp_sum = s.exp_sum.row(chunk) + row;
        args.rows = std::min(kMaxHeadRows, rows - row);
        return args;
      };
      if (is_int8) {
        WideHeadLogitsArgs args = {};
        args.planes = wide.row(row);
        args.scales = wide.scales + row;
        runtime.kernels.wide_head_logits(with_common(args));
      } else {
        HeadLogitsArgs args = {};
        args.z = s.z.row(row);
        args.z_stride = s.z.stride;
        runtime.kernels.head_logits(with_common(args));
      }
    }
  });
}

// The softmax' denominators from those of the chunks, and below which log-probability a beam's
// words are not among its `best`.
void EnsembleHead::normalize(const Scratch& s, size_t best) const {
  for (size_t row = 0; row < s.rows(); ++row) {
    float top = -std::numeric_limits<float>::infinity();
    for (size_t chunk = 0; chunk < chunks(); ++chunk)
      top = std::max(top, s.maximum.row(chunk)[row]);
    double sum = 0;
    for (size_t chunk = 0; chunk < chunks(); ++chunk) {
      sum += static_cast<double>(s.exp_sum.row(chunk)[row]) *
             std::exp(static_cast<double>(s.maximum.row(chunk)[row]) - static_cast<double>(top));
    }
    s.log_sum_exp[row] = static_cast<float>(static_cast<double>(top) + std::log(sum));
  }
  for (size_t beam = 0; beam < s.beams; ++beam)
    s.floors[beam] = floor_of(s.maximum, beam, s.branches, s.log_sum_exp, best, s.bounds);
}

// The ensemble's log-probabilities from the branches' logits.
void EnsembleHead::combine(const Runtime& runtime, const Scratch& s,
                           Matrix log_probabilities) const {
  const Observed observed(runtime, [&] {
    return head_work("head_combine", s.rows(), {nullptr, words(), 0}, s.rows() + s.beams);
  });
  runtime.parallel_for(chunks(), [&](size_t chunk) {
    const size_t first = chunk * kChunk;
    for (size_t beam = 0; beam < s.beams; ++beam) {
      runtime.kernels.head_combine({.logits = s.logits.row(beam * s.branches) + first,
                                    .logits_stride = s.logits.stride,
                                    .log_sum_exp = s.log_sum_exp + beam * s.branches,
                                    .y = log_probabilities.row(beam) + first,
                                    .branches = s.branches,
                                    .words = chunk_words(chunk),
                                    .floor = s.floors[beam]});
    }
  });
}

void EnsembleHead::forward(const Runtime& runtime, Matrix hidden, Matrix log_probabilities,
                           const HeadOptions& options) const {
  const Arena::Scope scope(runtime.arena);
  const Scratch s = scratch(runtime.arena, hidden.rows);
  transform(runtime, hidden, s.z);
  if (ensemble_ == Ensemble::kMeanLogit) average_branches(runtime, s.beams, s.z);
  multiply(runtime, s, options.last_words_first);
  runtime.serial([&] { normalize(s, options.best); });
  combine(runtime, s, log_probabilities);
}

void EnsembleHead::best_words(const Runtime& runtime, Matrix log_probabilities, size_t k,
                              ScoredToken* best) const {
  const Arena::Scope scope(runtime.arena);
  float* values = runtime.arena.floats(log_probabilities.rows * k);
  auto* indices =
      static_cast<uint32_t*>(runtime.arena.bytes(log_probabilities.rows * k * sizeof(uint32_t)));
  runtime.parallel_for(log_probabilities.rows, [&](size_t beam) {
    runtime.kernels.top_k({.x = log_probabilities.row(beam),
                           .count = words(),
                           .k = k,
                           .values = values + beam * k,
                           .indices = indices + beam * k});
    for (size_t i = 0; i < k; ++i)
      best[beam * k + i] = {indices[beam * k + i], values[beam * k + i]};
  });
}

}  // namespace lightcap::internal
