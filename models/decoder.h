// Greedy and beam search over fusion and head.
#ifndef LIGHTCAP_MODELS_DECODER_H_
#define LIGHTCAP_MODELS_DECODER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/text/wordpiece.h"
#include "models/beam_search.h"
#include "models/ensemble_head.h"
#include "models/fusion.h"

namespace lightcap::internal {

// Is told of a caption while it is written.
class WordListener {
 public:
  // After each step, on the thread that runs the graph: the best caption that is under way, or,
  // when all have ended, the best of those. True goes on, false ends the search with what there is.
  // What it throws ends the caption.
  virtual bool word(const Hypothesis& so_far) = 0;

 protected:
  ~WordListener() = default;
};

struct DecodeOptions {
  size_t beams = 1;             // 1 is greedy search
  double length_penalty = 1.0;  // alpha: a caption's score is sum / length^alpha
  bool all_steps = false;  // greedy goes on after [SEP] until the slots are full, for benchmarks
  WordListener* listener = nullptr;
};

// Sees the steps of greedy search from outside.
class StepObserver {
 public:
  // After each step, on the thread that runs the graph: log_probabilities [words] of the next word,
  // which are the decoder's and may be changed by it afterwards. What it throws ends the caption.
  virtual void step(const float* log_probabilities, size_t words) = 0;

 protected:
  ~StepObserver() = default;
};

// Immutable; what one caption works on is a State. Refers to its model's blocks, which outlive it.
class Decoder {
 public:
  Decoder(const Weights& weights, const Fusion& fusion, const EnsembleHead& head,
          SpecialTokens special);

  // One caption's search, for at most a number of beams. Made once, so that captions allocate
  // nothing. Matrices are views of the arena.
  struct State {
    State(const Decoder& decoder, size_t beams);

    BeamSearch search;
    Hypothesis greedy;
    std::vector<uint32_t> last;         // [beams], the word that each caption ends with
    std::vector<uint32_t> step_tokens;  // [beams][rows a beam]
    Fusion::State* fusion = nullptr;
    Matrix hidden;                // [beams][d]
    Matrix log_probabilities;     // [beams][W]
    ScoredToken* best = nullptr;  // [beams][2 beams]
    size_t steps = 0;             // of the last caption
  };
  // Takes the state's memory of the arena, and remembers `fusion`, which outlives it.
  void allocate(Arena& arena, Fusion::State& fusion, State& state) const;

  // Plans one step of as many beams as the state has room for.
  void plan(const Runtime& runtime, State& state) const;
  // Writes captions for the prefix in state.fusion, best first: one by greedy search, up to
  // options.beams, which is at most the state's, by beam search. They live in `state` until the
  // next call. `observer` may be null; it sees greedy search
  // alone. Throws Error(kModel) where damaged weights make NaN.
  std::span<const Hypothesis> run(const Runtime& runtime, const DecodeOptions& options,
                                  State& state, StepObserver* observer) const;

  // The two parts of a step at slot t, also for benchmarks after `run`: hidden [beams][d] of the
  // captions that end with state.last, and of these the k best next words of each, state.best
  // [beams][k].
  void step(const Runtime& runtime, State& state, size_t beams, size_t t) const;
  void find_words(const Runtime& runtime, State& state, size_t beams, size_t t, size_t k,
                  StepObserver* observer) const;

 private:
  void greedy(const Runtime& runtime, const DecodeOptions& options, State& state,
              StepObserver* observer) const;
  void beam_search(const Runtime& runtime, const DecodeOptions& options, State& state) const;
  void advance(const Runtime& runtime, State& state, size_t live, size_t t, size_t k,
               StepObserver* observer) const;
  size_t words_per_beam(size_t beams) const;

  const Fusion& fusion_;
  const EnsembleHead& head_;
  SpecialTokens special_;
  size_t slots_, width_;
  size_t rows_per_beam_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_DECODER_H_
