// Greedy and beam search over fusion and head (paper, "implementation details": beam size 5).
#ifndef LIGHTCAP_MODELS_DECODER_H_
#define LIGHTCAP_MODELS_DECODER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/text/wordpiece.h"
#include "models/ensemble_head.h"
#include "models/fusion.h"

namespace lightcap {

inline constexpr size_t kMaxBeams = 32;

struct DecodeOptions {
  size_t beams = 1;             // 1 is greedy search
  double length_penalty = 1.0;  // alpha: a caption's score is sum / length^alpha
  bool all_steps = false;  // greedy goes on after [SEP] until the slots are full, for benchmarks
};

// A caption under way or done, [CLS] left out, [SEP] included.
struct Hypothesis {
  std::vector<uint32_t> tokens;
  double sum = 0;    // of log-probabilities
  double score = 0;  // sum / length^alpha
};

class Decoder {
 public:
  Decoder(const Weights& weights, const Fusion& fusion, const EnsembleHead& head,
          SpecialTokens special);

  // What decoding works on, made once for a number of beams so that captions allocate nothing.
  struct State {
    Fusion::State* fusion = nullptr;
    Matrix hidden;                       // [beams][d]
    Matrix log_probabilities;            // [beams][W]
    ScoredToken* best = nullptr;         // [beams][2 beams]
    std::vector<uint32_t> step_tokens;   // [beams][rows a beam]
    std::vector<uint32_t> parents;       // [beams]
    std::vector<Hypothesis> live, next;  // [beams]
    std::vector<Hypothesis> pool;        // finished, best first
    size_t pool_size = 0;
    struct Candidate {
      double sum;
      uint32_t beam, token;
    };
    std::vector<Candidate> candidates;  // [2 beams * beams]
    // Called with each step's row [W] of log-probabilities in greedy search; may be empty.
    std::function<void(const float* row, size_t words)> on_log_probabilities;
    // Time spent in the head, and steps taken, by the last caption.
    double head_ms = 0;
    size_t steps = 0;
  };
  void allocate(Arena& arena, size_t beams, Fusion::State& fusion, State& state) const;

  // Writes a caption for the prefix in state.fusion. The result lives in `state` until the next
  // call. Throws Error(kModel) where damaged weights make NaN.
  const Hypothesis& run(const Runtime& runtime, const DecodeOptions& options, State& state) const;

  // The two parts of a step at slot t, also for benchmarks after `run`: the live beams' hidden
  // states, and of these the k best next words of each, in state.best.
  void step(const Runtime& runtime, State& state, size_t beams, size_t t) const;
  void find_words(const Runtime& runtime, State& state, size_t beams, size_t t, size_t k) const;

 private:
  const Hypothesis& greedy(const Runtime& runtime, const DecodeOptions& options,
                           State& state) const;
  const Hypothesis& beam_search(const Runtime& runtime, const DecodeOptions& options,
                                State& state) const;
  void advance(const Runtime& runtime, State& state, size_t live, size_t t, size_t k) const;
  size_t select(const DecodeOptions& options, State& state, size_t live, size_t k) const;
  void finish(const DecodeOptions& options, const Hypothesis& hypothesis, State& state) const;

  const Fusion& fusion_;
  const EnsembleHead& head_;
  SpecialTokens special_;
  size_t slots_, width_;
  size_t rows_per_beam_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_DECODER_H_
