#include "models/ensemble_head.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/runtime/split.h"

namespace lightcap {
namespace {

// Words that one task computes: 1.25 MB of the embedding at d = 312, and their logits fit into L1.
constexpr size_t kChunk = 1024;

// One pass over the words: their embeddings, of depth 0 where they are not read, and `floats` other
// floats a word.
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
                                       d * words * data_type_bytes(embeddings.type))};
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

void EnsembleHead::forward(const Runtime& runtime, Matrix hidden, Matrix log_probabilities,
                           const HeadOptions& options) const {
  const Arena::Scope scope(runtime.arena);
  const size_t beams = hidden.rows;
  const size_t d = word_embedding_.width();
  // z [beams * branches][d], a beam's branches one after the other.
  Matrix z = runtime.arena.matrix(beams * branches_.size(), d);
  for (size_t i = 0; i < branches_.size(); ++i) {
    const Matrix own = {z.row(i), beams, d, branches_.size() * z.stride};
    linear(runtime, branches_[i].dense, hidden, own, {.activation = Activation::kGelu});
    layer_norm(runtime, branches_[i].norm, own, own);
  }
  size_t branches = branches_.size();
  if (ensemble_ == Ensemble::kMeanLogit) {
    // Logits are linear in z, so their mean is the logits of the mean. Beam i's mean goes to row i,
    // which is read no more: beams come in ascending order.
    runtime.parallel_for(1, [&](size_t) {
      for (size_t beam = 0; beam < beams; ++beam) {
        for (size_t k = 0; k < d; ++k) {
          float sum = 0;
          for (size_t i = 0; i < branches; ++i) sum += z.row(beam * branches + i)[k];
          z.row(beam)[k] = sum / static_cast<float>(branches);
        }
      }
    });
    branches = 1;
  }
  const size_t rows = beams * branches;
  const Matrix logits = runtime.arena.matrix(rows, words());
  const Matrix maximum = runtime.arena.matrix(chunks(), rows);
  const Matrix exp_sum = runtime.arena.matrix(chunks(), rows);
  float* log_sum_exp = runtime.arena.floats(rows);
  float* floors = runtime.arena.floats(beams);
  float* bounds = runtime.arena.floats(chunks());
  {
    const Observed observed(
        runtime, [&] { return head_work("head_logits", rows, word_embedding_.matrix, rows + 1); });
    constexpr size_t kWordSteps = 48;  // of a word's exponentials, and of finding the best
    runtime.plan_steps(static_cast<double>(rows * words()) * static_cast<double>(d + kWordSteps));
    // The kernel takes kMaxHeadRows rows at once; more than that come in groups, chunk by chunk, so
    // that the chunk's words are still in the cache.
    runtime.parallel_for(chunks(), [&](size_t task) {
      const size_t chunk = options.last_words_first ? chunks() - 1 - task : task;
      const size_t first = chunk * kChunk;
      for (size_t row = 0; row < rows; row += kMaxHeadRows) {
        runtime.kernels.head_logits(
            {.z = z.row(row),
             .z_stride = z.stride,
             .weights = word_embedding_.matrix.slice(first, std::min(kChunk, words() - first)),
             .bias = bias_ + first,
             .logits = logits.row(row) + first,
             .logits_stride = logits.stride,
             .maximum = maximum.row(chunk) + row,
             .exp_sum = exp_sum.row(chunk) + row,
             .rows = std::min(kMaxHeadRows, rows - row)});
      }
    });
  }
  runtime.parallel_for(1, [&](size_t) {
    for (size_t row = 0; row < rows; ++row) {
      float top = -std::numeric_limits<float>::infinity();
      for (size_t chunk = 0; chunk < chunks(); ++chunk)
        top = std::max(top, maximum.row(chunk)[row]);
      double sum = 0;
      for (size_t chunk = 0; chunk < chunks(); ++chunk) {
        sum += static_cast<double>(exp_sum.row(chunk)[row]) *
               std::exp(static_cast<double>(maximum.row(chunk)[row]) - static_cast<double>(top));
      }
      log_sum_exp[row] = static_cast<float>(static_cast<double>(top) + std::log(sum));
    }
    for (size_t beam = 0; beam < beams; ++beam)
      floors[beam] = floor_of(maximum, beam, branches, log_sum_exp, options.best, bounds);
  });
  const Observed observed(runtime, [&] {
    return head_work("head_combine", rows, {nullptr, words(), 0}, rows + beams);
  });
  runtime.parallel_for(chunks(), [&](size_t chunk) {
    const size_t first = chunk * kChunk;
    for (size_t beam = 0; beam < beams; ++beam) {
      runtime.kernels.head_combine({.logits = logits.row(beam * branches) + first,
                                    .logits_stride = logits.stride,
                                    .log_sum_exp = log_sum_exp + beam * branches,
                                    .y = log_probabilities.row(beam) + first,
                                    .branches = branches,
                                    .words = std::min(kChunk, words() - first),
                                    .floor = floors[beam]});
    }
  });
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

}  // namespace lightcap
