// Greedy and beam search over fusion and head.
#ifndef LIGHTCAP_MODELS_DECODER_H_
#define LIGHTCAP_MODELS_DECODER_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/text/wordpiece.h"
#include "models/beam_search.h"
#include "models/constrained_search.h"
#include "models/ensemble_head.h"
#include "models/fusion.h"

namespace lightcap::internal {

// Is told of a caption while it is written.
class WordListener {
 public:
  // After each step, on the thread that runs the graph: the best caption that is under way, or,
  // when all have ended, the best of those. True goes on, false ends the search with what there is.
  // An exception that it throws ends the caption.
  virtual bool word(const Hypothesis& so_far) = 0;

 protected:
  ~WordListener() = default;
};

struct DecodeOptions {
  size_t beams = 1;             // 1 is greedy search
  double length_penalty = 1.0;  // alpha: a caption's score is sum / length^alpha
  bool all_steps = false;  // greedy goes on after [SEP] until the slots are full, for benchmarks
  WordListener* listener = nullptr;
  // Words that the caption must contain, at least one, of this model's vocabulary; null: anything
  // goes. The search is as wide as `beams` for each of their states then, also where that is 1.
  const Constraints* constraints = nullptr;
};

// The most that a caption may ask for.
struct SearchRoom {
  size_t beams = 1;   // 1 to kMaxBeams
  size_t states = 0;  // of constraints, at most kMaxConstraintStates; 0: there are none

  // Captions under way at once.
  size_t rows() const { return beams * std::max<size_t>(states, 1); }
};

// Sees the steps of greedy search from outside.
class StepObserver {
 public:
  // After each step, on the thread that runs the graph: log_probabilities [words] of the next word,
  // which are the decoder's and may be changed by it afterwards. An exception that it throws ends
  // the caption.
  virtual void step(const float* log_probabilities, size_t words) = 0;

 protected:
  ~StepObserver() = default;
};

// Immutable; what one caption works on is a State. Refers to its model's blocks, which outlive it.
class Decoder {
 public:
  Decoder(const Weights& weights, const Fusion& fusion, const EnsembleHead& head,
          SpecialTokens special);

  // One caption's search. Made once, so that captions allocate nothing. Matrices are views of the
  // arena; "captions" are those under way, at most room.rows().
  struct State {
    State(const Decoder& decoder, const SearchRoom& most);

    const SearchRoom room;
    BeamSearch search;
    std::optional<ConstrainedSearch> constrained;  // where there is room for states
    Hypothesis greedy;
    std::vector<uint32_t> last;         // [captions], the word that each ends with
    std::vector<uint32_t> step_tokens;  // [captions][rows a beam]
    Fusion::State* fusion = nullptr;
    Matrix hidden;                // [captions][d]
    Matrix log_probabilities;     // [captions][W]
    ScoredToken* best = nullptr;  // [captions][2 beams]
    size_t steps = 0;             // of the last caption
  };
  // Takes the state's memory of the arena, and remembers `fusion`, which outlives it.
  void allocate(Arena& arena, Fusion::State& fusion, State& state) const;

  // Plans one step of as many captions as the state has room for.
  void plan(const Runtime& runtime, State& state) const;
  // Writes captions for the prefix in state.fusion, best first: one by greedy search, up to
  // options.beams by beam search; the state has room for what the options ask for. They live in
  // `state` until the next call. `observer` may be null; it sees greedy search alone. Throws
  // Error(kModel) where damaged weights make NaN.
  std::span<const Hypothesis> run(const Runtime& runtime, const DecodeOptions& options,
                                  State& state, StepObserver* observer) const;

  // The words that a step is to find.
  struct Wanted {
    size_t k;  // best words of each caption
    // Log-probabilities of all words, not only of the best, are read afterwards.
    bool all_words = false;
    StepObserver* observer = nullptr;
  };
  // The two parts of a step at slot t, also for benchmarks after `run`: hidden [beams][d] of the
  // captions that end with state.last, and of these the k best next words of each, state.best
  // [beams][k].
  void step(const Runtime& runtime, State& state, size_t beams, size_t t) const;
  void find_words(const Runtime& runtime, State& state, size_t beams, size_t t,
                  const Wanted& wanted) const;

 private:
  void greedy(const Runtime& runtime, const DecodeOptions& options, State& state,
              StepObserver* observer) const;
  std::span<const Hypothesis> search(const Runtime& runtime, const DecodeOptions& options,
                                     State& state, Beams& beams, const Wanted& wanted) const;
  void advance(const Runtime& runtime, State& state, size_t live, size_t t,
               const Wanted& wanted) const;
  size_t words_per_beam(size_t beams) const;

  const Fusion& fusion_;
  const EnsembleHead& head_;
  SpecialTokens special_;
  size_t slots_, width_;
  size_t rows_per_beam_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_DECODER_H_
