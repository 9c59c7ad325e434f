#include "models/fusion.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/runtime/split.h"

namespace lightcap::internal {
namespace {

constexpr size_t kCaptionType = 0;
constexpr size_t kConceptType = 1;

// Heads that one attention task computes while decoding: some 10 us of work.
constexpr size_t kHeadsPerTask = 3;
// Rows of the prefix that one attention task computes, for one head.
constexpr size_t kRowsPerTask = 32;
// Floats that AttentionArgs::scores has room for beyond one a key and row.
constexpr size_t kScoresSlack = 32;

constexpr size_t align_floats(size_t count) { return ceil_div(count, 16) * 16; }

// The work of `rows` queries over `keys` keys, for all heads together, whose width is `d`. Beams
// share the prefix, so keys count once.
LayerWork attention_work(std::string_view query, size_t rows, size_t keys, size_t d) {
  return {.name = query.substr(0, query.rfind('.')),
          .kernel = "attention",
          .height = rows,
          .channels = keys,
          .out = d,
          .macs = 2.0 * static_cast<double>(rows * keys * d),
          .bytes = static_cast<double>(2 * (rows + keys) * d * sizeof(float))};
}

// The steps of all heads for every pair of a query and a key: two products, whose vectors are
// computed as wholes, and an exponential.
double attention_steps(size_t rows, size_t keys, size_t heads, size_t head_size) {
  constexpr size_t kExponential = 24;
  return static_cast<double>(rows * keys) *
         static_cast<double>(heads * (head_size + align_floats(head_size) + kExponential));
}

}  // namespace

// Scratch for the scores of attention, for so many tasks at a time that it stays small beside the
// keys and values, which it would else outgrow with the square of the prefix.
class Fusion::Scores {
 public:
  Scores(Arena& arena, size_t keys, size_t tasks)
      : stride_(align_floats(keys + kScoresSlack)),
        tasks_at_once_(std::min(tasks, std::max(kTasksAtOnce, kFloats / (kRows * stride_)))),
        data_(arena.floats(tasks_at_once_ * kRows * stride_)) {}

  size_t stride() const { return stride_; }
  // Calls f(task, scores) for every task, on the pool; scores [kRows][stride] are its own.
  template <class F>
  void for_each_task(const Runtime& runtime, size_t tasks, F&& f) const {
    for (size_t first = 0; first < tasks; first += tasks_at_once_) {
      runtime.parallel_for(std::min(tasks_at_once_, tasks - first),
                           [&](size_t i) { f(first + i, data_ + i * kRows * stride_); });
    }
  }

 private:
  static constexpr size_t kRows = kMostAttentionRows;
  static constexpr size_t kTasksAtOnce = 64;  // enough for any number of threads
  static constexpr size_t kFloats = size_t{1} << 20;

  size_t stride_, tasks_at_once_;
  float* data_;
};

Fusion::Fusion(const Weights& weights) {
  weights.load(*this);
  const Config& config = weights.config();
  d_ = config.fusion.width;
  heads_ = config.fusion.heads;
  head_size_ = d_ / heads_;
  max_concept_tokens_ = config.fusion.max_concept_tokens;
  caption_slots_ = config.fusion.caption_slots;
  visual_tokens_ = config.image_encoder.grid() * config.image_encoder.grid();
}

void Fusion::allocate(Arena& arena, size_t beams, State& state) const {
  state.prefix.resize(layers_.size());
  for (KeyValueCache& cache : state.prefix) cache = KeyValueCache(arena, max_prefix_tokens(), d_);
  state.captions.allocate(arena, beams, layers_.size(), caption_slots_, d_);
}

// out [d] = word + position + token type, which LayerNorm is still to be applied to.
void Fusion::embed(uint32_t token, size_t position, size_t token_type, float* out) const {
  word_embedding_.lookup(token, out);
  const float* p = positions_ + position * d_;
  const float* type = token_types_ + token_type * d_;
  for (size_t k = 0; k < d_; ++k) out[k] += p[k] + type[k];
}

void Fusion::embed_prefix(const Runtime& runtime, const uint32_t* tokens, size_t count,
                          const Tensor& modulated, Matrix prefix) const {
  const Matrix concepts = prefix.first_rows(count);
  const Matrix visual = prefix.from_row(count, visual_tokens_);
  runtime.parallel_for(count, [&](size_t i) {
    embed(tokens[i], caption_slots_ + i, kConceptType, concepts.row(i));
  });
  layer_norm(runtime, embedding_norm_, concepts, concepts);
  linear(runtime, visual_dense_, modulated.pixels(), visual);
  layer_norm(runtime, visual_norm_, visual, visual);
  if (grid_position_ == nullptr) return;
  runtime.serial([&] {
    for (size_t i = 0; i < visual_tokens_; ++i) {
      for (size_t k = 0; k < d_; ++k) visual.row(i)[k] += grid_position_[i * d_ + k];
    }
  });
}

// context [rows][d] gets one head's columns: its attention of query [rows][d] over the keys and
// values of the prefix and of a caption, causal as AttentionArgs has it.
void Fusion::attend_head(const Runtime& runtime, size_t head, Matrix query, Matrix context,
                         const KeyValues& prefix, const KeyValues& caption, size_t causal,
                         float* scores, size_t scores_stride) const {
  runtime.kernels.attention({.queries = query.data + head * head_size_,
                             .query_stride = query.stride,
                             .rows = query.rows,
                             .head_size = head_size_,
                             .scale = 1.0f / std::sqrt(static_cast<float>(head_size_)),
                             .shared = prefix,
                             .own = caption,
                             .causal = causal,
                             .scores = scores,
                             .scores_stride = scores_stride,
                             .output = context.data + head * head_size_,
                             .output_stride = context.stride});
}

// Attention within the prefix: query and context are [prefix tokens][d], and `cache` holds their
// keys and values.
void Fusion::attend_prefix(const Runtime& runtime, const Layer& layer, const KeyValueCache& cache,
                           const Scores& scores, Matrix query, Matrix context) const {
  const size_t rows = query.rows;
  const Observed observed(runtime,
                          [&] { return attention_work(layer.query.name, rows, rows, d_); });
  runtime.plan_steps(attention_steps(rows, rows, heads_, head_size_));
  const size_t row_tasks = ceil_div(rows, kRowsPerTask);
  scores.for_each_task(runtime, heads_ * row_tasks, [&](size_t task, float* own) {
    const size_t head = task / row_tasks;
    const size_t first = task % row_tasks * kRowsPerTask;
    const size_t count = std::min(kRowsPerTask, rows - first);
    attend_head(runtime, head, query.from_row(first, count), context.from_row(first, count),
                cache.head(head, head_size_, rows), {}, 0, own, scores.stride());
  });
}

// Attention of a step's rows, query and context [beams * rows][d], over the prefix and the captions
// so far, in layer number `layer`.
void Fusion::attend_captions(const Runtime& runtime, size_t layer, const Step& step,
                             const State& state, const Scores& scores, Matrix query,
                             Matrix context) const {
  const Observed observed(runtime, [&] {
    return attention_work(layers_[layer].query.name, query.rows,
                          state.prefix_tokens + step.t + step.rows - 1, d_);
  });
  // The last step is the one that is planned, since it sees the most.
  runtime.plan_steps(
      attention_steps(query.rows, max_prefix_tokens() + caption_slots_, heads_, head_size_));
  const size_t head_tasks = ceil_div(heads_, kHeadsPerTask);
  scores.for_each_task(runtime, step.beams * head_tasks, [&](size_t task, float* own) {
    const size_t beam = task / head_tasks;
    const size_t first = task % head_tasks * kHeadsPerTask;
    const size_t row = beam * step.rows;
    for (size_t head = first; head < std::min(first + kHeadsPerTask, heads_); ++head) {
      attend_head(runtime, head, query.from_row(row, step.rows), context.from_row(row, step.rows),
                  state.prefix[layer].head(head, head_size_, state.prefix_tokens),
                  state.captions.at(beam, layer).head(head, head_size_, step.t), 1, own,
                  scores.stride());
    }
  });
}

// x = LayerNorm(x + attention_output(context)); x = LayerNorm(x + output(gelu(intermediate(x)))).
void Fusion::finish_layer(const Runtime& runtime, const Layer& layer, Matrix context,
                          Matrix x) const {
  const Arena::Scope scope(runtime.arena);
  const Matrix middle = runtime.arena.matrix(x.rows, layer.intermediate.out());
  linear(runtime, layer.attention_output, context, x,
         {.residual = x.data, .residual_stride = x.stride});
  layer_norm(runtime, layer.attention_norm, x, x);
  linear(runtime, layer.intermediate, x, middle, {.activation = Activation::kGelu});
  linear(runtime, layer.output, middle, x, {.residual = x.data, .residual_stride = x.stride});
  layer_norm(runtime, layer.output_norm, x, x);
}

void Fusion::run_prefix(const Runtime& runtime, Matrix prefix, State& state) const {
  const Arena::Scope scope(runtime.arena);
  const size_t rows = prefix.rows;
  state.prefix_tokens = rows;
  const Matrix query = runtime.arena.matrix(rows, d_);
  const Matrix key = runtime.arena.matrix(rows, d_);
  const Matrix context = runtime.arena.matrix(rows, d_);
  const Scores scores(runtime.arena, rows + kRowsPerTask, heads_ * ceil_div(rows, kRowsPerTask));
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const KeyValueCache& cache = state.prefix[i];
    const LinearOutput keys = {&layer.key, key}, values = {&layer.value, cache.values(rows)};
    // Nobody reads the last layer's output: captions see keys and values only.
    const bool is_last = i + 1 == layers_.size();
    if (is_last) {
      linears(runtime, prefix, {keys, values});
    } else {
      linears(runtime, prefix, {keys, values, {&layer.query, query}});
    }
    runtime.parallel_for(
        heads_, [&](size_t head) { cache.store_keys(0, key, head * head_size_, head_size_); });
    if (is_last) break;
    attend_prefix(runtime, layer, cache, scores, query, context);
    finish_layer(runtime, layer, context, prefix);
  }
}

void Fusion::step(const Runtime& runtime, State& state, const uint32_t* tokens, size_t beams,
                  size_t rows_per_beam, size_t t, Matrix hidden) const {
  const Arena::Scope scope(runtime.arena);
  const Step step = {beams, rows_per_beam, t};
  const size_t rows = beams * rows_per_beam;
  const Matrix x = runtime.arena.matrix(rows, d_);
  const Matrix query = runtime.arena.matrix(rows, d_);
  const Matrix key = runtime.arena.matrix(rows, d_);
  const Matrix value = runtime.arena.matrix(rows, d_);
  const Matrix context = runtime.arena.matrix(rows, d_);
  const Scores scores(runtime.arena, max_prefix_tokens() + caption_slots_ + rows_per_beam,
                      beams * ceil_div(heads_, kHeadsPerTask));

  runtime.serial([&] {
    for (size_t row = 0; row < rows; ++row)
      embed(tokens[row], t - 1 + row % rows_per_beam, kCaptionType, x.row(row));
  });
  layer_norm(runtime, embedding_norm_, x, x);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    linears(runtime, x, {{&layer.query, query}, {&layer.key, key}, {&layer.value, value}});
    runtime.serial([&] {
      // The slot of [MASK] is overwritten by the next step.
      for (size_t beam = 0; beam < beams; ++beam) {
        const size_t row = beam * rows_per_beam;
        state.captions.at(beam, i).store(t - 1, key.from_row(row, rows_per_beam),
                                         value.from_row(row, rows_per_beam));
      }
    });
    attend_captions(runtime, i, step, state, scores, query, context);
    finish_layer(runtime, layer, context, x);
  }
  runtime.serial([&] {
    for (size_t beam = 0; beam < beams; ++beam)
      std::memcpy(hidden.row(beam), x.row((beam + 1) * rows_per_beam - 1), d_ * sizeof(float));
  });
}

}  // namespace lightcap::internal
