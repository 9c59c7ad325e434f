#include "models/fusion.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/runtime/split.h"

namespace lightcap {
namespace {

constexpr size_t kCaptionType = 0;
constexpr size_t kConceptType = 1;

// Heads that one attention task computes while decoding: some 10 us of work.
constexpr size_t kHeadsPerTask = 3;
// Rows of the prefix that one attention task computes, for one head.
constexpr size_t kRowsPerTask = 32;
// What AttentionArgs::scores wants beyond one float a key and row.
constexpr size_t kScoresSlack = 32;

constexpr size_t align_floats(size_t count) { return ceil_div(count, 16) * 16; }

// Of `rows` queries over `keys` keys, for all heads of width `d` together. Beams share the prefix,
// so keys count once.
LayerWork attention_work(std::string_view query, size_t rows, size_t keys, size_t d) {
  return {.name = query.substr(0, query.rfind('.')),
          .kernel = "attention",
          .height = rows,
          .channels = keys,
          .out = d,
          .macs = 2.0 * static_cast<double>(rows * keys * d),
          .bytes = static_cast<double>(2 * (rows + keys) * d * sizeof(float))};
}

// A head's steps for a query and a key: two products, whose vectors are computed as wholes, and an
// exponential.
double attention_steps(size_t rows, size_t keys, size_t heads, size_t head_size) {
  constexpr size_t kExponential = 24;
  return static_cast<double>(rows * keys) *
         static_cast<double>(heads * (head_size + align_floats(head_size) + kExponential));
}

// Scratch for scores, for so many tasks at a time that it stays small beside the keys and values,
// which it would else outgrow with the square of the prefix.
struct Scores {
  size_t size;           // of a row
  size_t tasks_at_once;  // enough for any number of threads
  float* data;

  Scores(Arena& arena, size_t keys, size_t tasks)
      : size(align_floats(keys + kScoresSlack)),
        tasks_at_once(std::min(tasks, std::max(kTasksAtOnce, kFloats / (2 * size)))),
        data(arena.floats(tasks_at_once * 2 * size)) {}
  float* of_task(size_t task) const { return data + task % tasks_at_once * 2 * size; }

  // f(task) for every task, on the pool.
  template <class F>
  void for_each_task(const Runtime& runtime, size_t tasks, F&& f) const {
    for (size_t first = 0; first < tasks; first += tasks_at_once) {
      runtime.parallel_for(std::min(tasks_at_once, tasks - first), [&](size_t i) { f(first + i); });
    }
  }

  static constexpr size_t kTasksAtOnce = 64;
  static constexpr size_t kFloats = size_t{1} << 20;
};

}  // namespace

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

LayerCache Fusion::layer_cache(Arena& arena, size_t tokens) const {
  const size_t key_stride = align_floats(tokens);
  return {arena.floats(d_ * key_stride), key_stride, arena.matrix(tokens, d_)};
}

void Fusion::allocate(Arena& arena, size_t beams, State& state) const {
  state.prefix.resize(layers_.size());
  for (LayerCache& cache : state.prefix) cache = layer_cache(arena, max_prefix_tokens());
  // Reordering needs a second set, except where there is nothing to reorder.
  state.captions.resize(beams);
  state.spare_captions.resize(beams > 1 ? beams : 0);
  for (auto* set : {&state.captions, &state.spare_captions}) {
    for (std::vector<LayerCache>& beam : *set) {
      beam.resize(layers_.size());
      for (LayerCache& cache : beam) cache = layer_cache(arena, caption_slots_);
    }
  }
}

// out [d] = LayerNorm(word + position + token type), before LayerNorm.
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
  runtime.parallel_for(1, [&](size_t) {
    for (size_t i = 0; i < visual_tokens_; ++i) {
      for (size_t k = 0; k < d_; ++k) visual.row(i)[k] += grid_position_[i * d_ + k];
    }
  });
}

// Rows of `keys` [rows][d] become columns of every head's transposed keys, from column `slot` on.
void Fusion::store_keys(Matrix keys, size_t slot, const LayerCache& cache) const {
  for (size_t k = 0; k < d_; ++k) {
    float* to = cache.keys + k * cache.key_stride + slot;
    for (size_t row = 0; row < keys.rows; ++row) to[row] = keys.row(row)[k];
  }
}

KeyValues Fusion::head_of(const LayerCache& cache, size_t head, size_t count) const {
  return {.keys = cache.keys + head * head_size_ * cache.key_stride,
          .key_stride = cache.key_stride,
          .values = cache.values.data + head * head_size_,
          .value_stride = cache.values.stride,
          .count = count};
}

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
  const size_t row_tasks = ceil_div(rows, kRowsPerTask);
  const Scores scores(runtime.arena, rows + kRowsPerTask, heads_ * row_tasks);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const LayerCache& cache = state.prefix[i];
    linear(runtime, layer.key, prefix, key);
    linear(runtime, layer.value, prefix, cache.values.first_rows(rows));
    runtime.parallel_for(1, [&](size_t) { store_keys(key, 0, cache); });
    // Nobody reads the last layer's output: captions see keys and values only.
    if (i + 1 == layers_.size()) break;
    linear(runtime, layer.query, prefix, query);
    {
      const Observed observed(runtime,
                              [&] { return attention_work(layer.query.name, rows, rows, d_); });
      runtime.plan_steps(attention_steps(rows, rows, heads_, head_size_));
      scores.for_each_task(runtime, heads_ * row_tasks, [&](size_t task) {
        const size_t head = task / row_tasks;
        const size_t first = task % row_tasks * kRowsPerTask;
        runtime.kernels.attention({.queries = query.row(first) + head * head_size_,
                                   .query_stride = query.stride,
                                   .rows = std::min(kRowsPerTask, rows - first),
                                   .head_size = head_size_,
                                   .scale = 1.0f / std::sqrt(static_cast<float>(head_size_)),
                                   .prefix = head_of(cache, head, rows),
                                   .caption = {},
                                   .causal = 0,
                                   .scores = scores.of_task(task),
                                   .scores_stride = scores.size,
                                   .output = context.row(first) + head * head_size_,
                                   .output_stride = context.stride});
      });
    }
    finish_layer(runtime, layer, context, prefix);
  }
}

void Fusion::step(const Runtime& runtime, State& state, const uint32_t* tokens, size_t beams,
                  size_t rows_per_beam, size_t t, Matrix hidden) const {
  const Arena::Scope scope(runtime.arena);
  const size_t rows = beams * rows_per_beam;
  const Matrix x = runtime.arena.matrix(rows, d_);
  const Matrix query = runtime.arena.matrix(rows, d_);
  const Matrix key = runtime.arena.matrix(rows, d_);
  const Matrix value = runtime.arena.matrix(rows, d_);
  const Matrix context = runtime.arena.matrix(rows, d_);
  const size_t head_tasks = ceil_div(heads_, kHeadsPerTask);
  const Scores scores(runtime.arena, max_prefix_tokens() + caption_slots_ + rows_per_beam,
                      beams * head_tasks);

  runtime.parallel_for(1, [&](size_t) {
    for (size_t row = 0; row < rows; ++row) {
      embed(tokens[row], t - 1 + row % rows_per_beam, kCaptionType, x.row(row));
    }
  });
  layer_norm(runtime, embedding_norm_, x, x);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    linear(runtime, layer.query, x, query);
    linear(runtime, layer.key, x, key);
    linear(runtime, layer.value, x, value);
    runtime.parallel_for(1, [&](size_t) {
      // [MASK]'s are overwritten by the next step.
      for (size_t beam = 0; beam < beams; ++beam) {
        const LayerCache& cache = state.captions[beam][i];
        const size_t row = beam * rows_per_beam;
        store_keys(key.from_row(row, rows_per_beam), t - 1, cache);
        for (size_t r = 0; r < rows_per_beam; ++r)
          std::memcpy(cache.values.row(t - 1 + r), value.row(row + r), d_ * sizeof(float));
      }
    });
    {
      const Observed observed(runtime, [&] {
        return attention_work(layer.query.name, rows, state.prefix_tokens + t + rows_per_beam - 1,
                              d_);
      });
      // Of the last step, which sees the most.
      runtime.plan_steps(
          attention_steps(rows, max_prefix_tokens() + caption_slots_, heads_, head_size_));
      scores.for_each_task(runtime, beams * head_tasks, [&](size_t task) {
        const size_t beam = task / head_tasks;
        const size_t first_head = task % head_tasks * kHeadsPerTask;
        const size_t row = beam * rows_per_beam;
        for (size_t head = first_head; head < std::min(first_head + kHeadsPerTask, heads_);
             ++head) {
          runtime.kernels.attention({.queries = query.row(row) + head * head_size_,
                                     .query_stride = query.stride,
                                     .rows = rows_per_beam,
                                     .head_size = head_size_,
                                     .scale = 1.0f / std::sqrt(static_cast<float>(head_size_)),
                                     .prefix = head_of(state.prefix[i], head, state.prefix_tokens),
                                     .caption = head_of(state.captions[beam][i], head, t),
                                     .causal = 1,
                                     .scores = scores.of_task(task),
                                     .scores_stride = scores.size,
                                     .output = context.row(row) + head * head_size_,
                                     .output_stride = context.stride});
        }
      });
    }
    finish_layer(runtime, layer, context, x);
  }
  runtime.parallel_for(1, [&](size_t) {
    for (size_t beam = 0; beam < beams; ++beam) {
      std::memcpy(hidden.row(beam), x.row((beam + 1) * rows_per_beam - 1), d_ * sizeof(float));
    }
  });
}

void Fusion::reorder(const Runtime& runtime, State& state, const uint32_t* parents, size_t beams,
                     size_t slots) const {
  const auto stays = [&](size_t beam) { return parents[beam] == beam; };
  bool all_stay = true;
  for (size_t beam = 0; beam < beams; ++beam) all_stay = all_stay && stays(beam);
  if (all_stay) return;
  runtime.parallel_for(beams, [&](size_t beam) {
    for (size_t i = 0; i < layers_.size(); ++i) {
      const LayerCache& from = state.captions[parents[beam]][i];
      const LayerCache& to = state.spare_captions[beam][i];
      std::memcpy(to.keys, from.keys, d_ * from.key_stride * sizeof(float));
      std::memcpy(to.values.data, from.values.data, slots * from.values.stride * sizeof(float));
    }
  });
  std::swap(state.captions, state.spare_captions);
}

}  // namespace lightcap
