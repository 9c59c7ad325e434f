#include "models/decoder.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>

#include "engine/runtime/error.h"

namespace lightcap {
namespace {

double penalized(double sum, size_t length, double alpha) {
  return sum / std::pow(static_cast<double>(length), alpha);
}

// Of equal sums the lower beam and then the lower word comes first: a total order, so that results
// do not depend on a sort's whims.
bool better(const Decoder::State::Candidate& a, const Decoder::State::Candidate& b) {
  if (a.sum != b.sum) return a.sum > b.sum;
  return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
}

}  // namespace

Decoder::Decoder(const Weights& weights, const Fusion& fusion, const EnsembleHead& head,
                 SpecialTokens special)
    : fusion_(fusion),
      head_(head),
      special_(special),
      slots_(weights.config().fusion.caption_slots),
      width_(weights.config().fusion.width),
      rows_per_beam_(weights.config().fusion.decode == Decode::kMask ? 2 : 1) {}

void Decoder::allocate(Arena& arena, size_t beams, Fusion::State& fusion, State& state) const {
  state.fusion = &fusion;
  state.hidden = arena.matrix(beams, width_);
  state.log_probabilities = arena.matrix(beams, head_.words());
  state.best = static_cast<ScoredToken*>(arena.bytes(beams * 2 * beams * sizeof(ScoredToken)));
  state.step_tokens.resize(beams * rows_per_beam_);
  state.parents.resize(beams);
  state.candidates.reserve(beams * 2 * beams);
  for (auto* hypotheses : {&state.live, &state.next, &state.pool}) {
    // The pool's last place is for the one that just came.
    hypotheses->resize(hypotheses == &state.pool ? beams + 1 : beams);
    for (Hypothesis& hypothesis : *hypotheses) hypothesis.tokens.reserve(slots_);
  }
}

const Hypothesis& Decoder::run(const Runtime& runtime, const DecodeOptions& options,
                               State& state) const {
  state.head_ms = 0;
  state.steps = 0;
  if (runtime.planning()) {
    const size_t beams = state.live.size();
    advance(runtime, state, beams, 1, std::min(2 * beams, head_.words()));
    return state.live[0];
  }
  for (Hypothesis& hypothesis : state.live) {
    hypothesis.tokens.clear();
    hypothesis.sum = 0;
  }
  return options.beams == 1 ? greedy(runtime, options, state)
                            : beam_search(runtime, options, state);
}

void Decoder::step(const Runtime& runtime, State& state, size_t beams, size_t t) const {
  for (size_t beam = 0; beam < beams; ++beam) {
    const std::vector<uint32_t>& tokens = state.live[beam].tokens;
    state.step_tokens[beam * rows_per_beam_] =
        t == 1 || tokens.empty() ? special_.cls : tokens.back();
    if (rows_per_beam_ == 2) state.step_tokens[beam * 2 + 1] = special_.mask;
  }
  fusion_.step(runtime, *state.fusion, state.step_tokens.data(), beams, rows_per_beam_, t,
               state.hidden.first_rows(beams));
}

void Decoder::find_words(const Runtime& runtime, State& state, size_t live, size_t t,
                         size_t k) const {
  const Matrix rows = state.log_probabilities.first_rows(live);
  const std::array never = {special_.pad, special_.unk, special_.cls, special_.mask};
  const HeadOptions options = {
      .best = state.on_log_probabilities ? head_.words() : k + never.size(),
      .last_words_first = t % 2 == 0};
  head_.forward(runtime, state.hidden.first_rows(live), rows, options);
  runtime.parallel_for(1, [&](size_t) {
    if (state.on_log_probabilities) state.on_log_probabilities(rows.data, rows.columns);
    for (size_t beam = 0; beam < live; ++beam) {
      for (const uint32_t token : never)
        rows.row(beam)[token] = -std::numeric_limits<float>::infinity();
    }
  });
  head_.best_words(runtime, rows, k, state.best);
}

void Decoder::advance(const Runtime& runtime, State& state, size_t live, size_t t, size_t k) const {
  using Clock = std::chrono::steady_clock;
  step(runtime, state, live, t);
  const auto start = Clock::now();
  find_words(runtime, state, live, t, k);
  state.head_ms += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  ++state.steps;
  if (runtime.planning()) return;
  if (!std::isfinite(state.best[0].log_probability) || state.best[0].token >= head_.words()) {
    throw Error(
        ErrorCode::kModel,
        "the model's log-probabilities are not finite: its weights are damaged, or not trained");
  }
}

const Hypothesis& Decoder::greedy(const Runtime& runtime, const DecodeOptions& options,
                                  State& state) const {
  Hypothesis& caption = state.live[0];
  for (size_t t = 1; t < slots_; ++t) {
    advance(runtime, state, 1, t, 1);
    caption.tokens.push_back(state.best[0].token);
    caption.sum += static_cast<double>(state.best[0].log_probability);
    if (state.best[0].token == special_.sep && !options.all_steps) break;
  }
  caption.score = penalized(caption.sum, caption.tokens.size(), options.length_penalty);
  return caption;
}

// Puts a caption into the pool, which holds the `beams` best, best first; of equals the earlier
// stays ahead.
void Decoder::finish(const DecodeOptions& options, const Hypothesis& hypothesis,
                     State& state) const {
  Hypothesis& last = state.pool[state.pool_size];
  last.tokens = hypothesis.tokens;
  last.sum = hypothesis.sum;
  last.score = penalized(hypothesis.sum, hypothesis.tokens.size(), options.length_penalty);
  for (size_t i = state.pool_size; i > 0 && state.pool[i].score > state.pool[i - 1].score; --i) {
    std::swap(state.pool[i], state.pool[i - 1]);
  }
  state.pool_size = std::min(state.pool_size + 1, options.beams);
}

// Of the best 2b continuations of `live` beams, those that end go to the pool and the best b others
// to state.next, their parents to state.parents. Returns how many live on.
size_t Decoder::select(const DecodeOptions& options, State& state, size_t live, size_t k) const {
  state.candidates.clear();
  for (uint32_t beam = 0; beam < live; ++beam) {
    for (size_t i = 0; i < k; ++i) {
      const ScoredToken& word = state.best[beam * k + i];
      if (!std::isfinite(word.log_probability) || word.token >= head_.words()) continue;
      state.candidates.push_back(
          {state.live[beam].sum + static_cast<double>(word.log_probability), beam, word.token});
    }
  }
  const size_t best = std::min(2 * options.beams, state.candidates.size());
  std::partial_sort(state.candidates.begin(),
                    state.candidates.begin() + static_cast<std::ptrdiff_t>(best),
                    state.candidates.end(), better);
  size_t count = 0;
  for (size_t i = 0; i < best; ++i) {
    const State::Candidate& candidate = state.candidates[i];
    if (candidate.token == special_.sep) {
      Hypothesis& parent = state.live[candidate.beam];
      const double parent_sum = parent.sum;
      parent.tokens.push_back(candidate.token);
      parent.sum = candidate.sum;
      finish(options, parent, state);
      parent.tokens.pop_back();
      parent.sum = parent_sum;
      continue;
    }
    if (count == options.beams) continue;
    Hypothesis& grown = state.next[count];
    grown.tokens = state.live[candidate.beam].tokens;
    grown.tokens.push_back(candidate.token);
    grown.sum = candidate.sum;
    state.parents[count++] = candidate.beam;
  }
  return count;
}

const Hypothesis& Decoder::beam_search(const Runtime& runtime, const DecodeOptions& options,
                                       State& state) const {
  const size_t k = std::min(2 * options.beams, head_.words());
  state.pool_size = 0;
  size_t live = 1;
  for (size_t t = 1; t < slots_ && live > 0; ++t) {
    advance(runtime, state, live, t, k);
    live = select(options, state, live, k);
    std::swap(state.live, state.next);
    if (state.pool_size == options.beams) {
      const double worst = state.pool[state.pool_size - 1].score;
      const bool hopeless = std::none_of(
          state.live.begin(), state.live.begin() + static_cast<std::ptrdiff_t>(live),
          [&](const Hypothesis& beam) {
            return penalized(beam.sum, beam.tokens.size(), options.length_penalty) > worst;
          });
      if (hopeless) return state.pool[0];
    }
    if (t + 1 < slots_) fusion_.reorder(runtime, *state.fusion, state.parents.data(), live, t);
  }
  for (size_t beam = 0; beam < live; ++beam) finish(options, state.live[beam], state);
  return state.pool[0];
}

}  // namespace lightcap
