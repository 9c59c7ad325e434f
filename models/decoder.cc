#include "models/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

[[noreturn]] void refuse_weights() {
  throw Error(
      ErrorCode::kModel,
      "the model's log-probabilities are not finite: its weights are damaged, or not trained");
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

Decoder::State::State(const Decoder& decoder, const SearchRoom& most)
    : room(most),
      search(most.beams, decoder.slots_, decoder.special_.sep, decoder.head_.words()),
      last(most.rows(), decoder.special_.cls),
      step_tokens(most.rows() * decoder.rows_per_beam_) {
  reserve(greedy, decoder.slots_);
  if (most.states == 0) return;
  constrained.emplace(most.beams, most.states, decoder.slots_, decoder.special_.sep,
                      decoder.head_.words());
}

void Decoder::allocate(Arena& arena, Fusion::State& fusion, State& state) const {
  const size_t captions = state.room.rows();
  state.fusion = &fusion;
  state.hidden = arena.matrix(captions, width_);
  state.log_probabilities = arena.matrix(captions, head_.words());
  state.best =
      static_cast<ScoredToken*>(arena.bytes(captions * 2 * state.room.beams * sizeof(ScoredToken)));
}

// The best 2b continuations of all beams together are among the best 2b of each.
size_t Decoder::words_per_beam(size_t beams) const { return std::min(2 * beams, head_.words()); }

void Decoder::plan(const Runtime& runtime, State& state) const {
  const size_t captions = state.room.rows();
  step(runtime, state, captions, 1);
  find_words(runtime, state, captions, 1, {.k = words_per_beam(state.room.beams)});
}

std::span<const Hypothesis> Decoder::run(const Runtime& runtime, const DecodeOptions& options,
                                         State& state, StepObserver* observer) const {
  state.steps = 0;
  std::fill(state.last.begin(), state.last.end(), special_.cls);
  Wanted wanted = {.k = words_per_beam(options.beams)};
  if (options.constraints != nullptr) {
    wanted.all_words = true;
    state.constrained->start(*options.constraints, options.beams, options.length_penalty);
    return search(runtime, options, state, *state.constrained, wanted);
  }
  if (options.beams == 1) {
    greedy(runtime, options, state, observer);
    return {&state.greedy, 1};
  }
  state.search.start(options.beams, options.length_penalty);
  return search(runtime, options, state, state.search, wanted);
}

void Decoder::step(const Runtime& runtime, State& state, size_t beams, size_t t) const {
  for (size_t beam = 0; beam < beams; ++beam) {
    state.step_tokens[beam * rows_per_beam_] = state.last[beam];
    if (rows_per_beam_ == 2) state.step_tokens[beam * 2 + 1] = special_.mask;
  }
  fusion_.step(runtime, *state.fusion, state.step_tokens.data(), beams, rows_per_beam_, t,
               state.hidden.first_rows(beams));
}

void Decoder::find_words(const Runtime& runtime, State& state, size_t beams, size_t t,
                         const Wanted& wanted) const {
  const Matrix rows = state.log_probabilities.first_rows(beams);
  const std::array never = {special_.pad, special_.unk, special_.cls, special_.mask};
  const bool all_words = wanted.all_words || wanted.observer != nullptr;
  const HeadOptions options = {.best = all_words ? head_.words() : wanted.k + never.size(),
                               .last_words_first = t % 2 == 0};
  head_.forward(runtime, state.hidden.first_rows(beams), rows, options);
  runtime.serial([&] {
    if (wanted.observer != nullptr) wanted.observer->step(rows.data, rows.columns);
    for (size_t beam = 0; beam < beams; ++beam) {
      for (const uint32_t token : never)
        rows.row(beam)[token] = -std::numeric_limits<float>::infinity();
    }
  });
  head_.best_words(runtime, rows, wanted.k, state.best);
}

void Decoder::advance(const Runtime& runtime, State& state, size_t live, size_t t,
                      const Wanted& wanted) const {
  step(runtime, state, live, t);
  find_words(runtime, state, live, t, wanted);
  ++state.steps;
  if (!std::isfinite(state.best[0].log_probability) || state.best[0].token >= head_.words())
    refuse_weights();
}

void Decoder::greedy(const Runtime& runtime, const DecodeOptions& options, State& state,
                     StepObserver* observer) const {
  Hypothesis& caption = state.greedy;
  caption.tokens.clear();
  caption.log_probabilities.clear();
  caption.sum = 0;
  for (size_t t = 1; t < slots_; ++t) {
    advance(runtime, state, 1, t, {.k = 1, .observer = observer});
    const ScoredToken& word = state.best[0];
    caption.tokens.push_back(word.token);
    caption.log_probabilities.push_back(word.log_probability);
    caption.sum += static_cast<double>(word.log_probability);
    state.last[0] = word.token;
    if (options.listener != nullptr && !options.listener->word(caption)) break;
    if (word.token == special_.sep && !options.all_steps) break;
  }
  caption.score = length_penalized(caption.sum, caption.tokens.size(), options.length_penalty);
}

std::span<const Hypothesis> Decoder::search(const Runtime& runtime, const DecodeOptions& options,
                                            State& state, Beams& beams,
                                            const Wanted& wanted) const {
  for (size_t t = 1; t < slots_ && beams.live() > 0; ++t) {
    advance(runtime, state, beams.live(), t, wanted);
    beams.grow(state.best, wanted.k, state.log_probabilities.first_rows(beams.live()));
    if (beams.live() == 0 && beams.done().empty()) refuse_weights();  // no word had a number
    if (options.listener != nullptr) {
      const Hypothesis& best = beams.live() > 0 ? beams.leading() : beams.done().front();
      if (!options.listener->word(best)) break;
    }
    if (beams.hopeless()) break;
    for (size_t beam = 0; beam < beams.live(); ++beam)
      state.last[beam] = beams.beam(beam).tokens.back();
    if (t + 1 < slots_) state.fusion->captions.reorder(runtime, beams.parents(), beams.live(), t);
  }
  const std::span<const Hypothesis> done = beams.finish();
  if (done.empty()) refuse_weights();  // of beams that lack words, none had a number for them
  return done;
}

}  // namespace lightcap::internal
