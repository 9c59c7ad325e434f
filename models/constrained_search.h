// Beam search for the best caption that contains given words, apart from what computes their
// probabilities (Anderson et al. 2017; paper, "CBS" in the table of nocaps).
#ifndef LIGHTCAP_MODELS_CONSTRAINED_SEARCH_H_
#define LIGHTCAP_MODELS_CONSTRAINED_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/runtime/ops.h"
#include "models/beam_search.h"
#include "models/constraints.h"

namespace lightcap::internal {

// Beam search with b beams for each state of the constraints. At each step every beam may go on
// with its likeliest words, and with any token of the constraints however unlikely it is. Words
// that lead into the same state compete: the best 2b are looked at, those that end go to the pool,
// and the best b others become beams. Only captions that contain everything end, and a beam whose
// missing words would no longer fit is none: so at the last words nothing is left to the beams but
// what they lack. Without a constraint this is BeamSearch, step for step.
class ConstrainedSearch final : public Beams {
 public:
  // For at most `beams` beams in each of at most `states` states; else as BeamSearch. A caption has
  // `slots` - 1 words at most.
  ConstrainedSearch(size_t beams, size_t states, size_t slots, uint32_t end, size_t vocabulary);

  // Begins a search with one empty beam. `constraints` outlives it; they have at most `states`
  // states, and fit into a caption.
  void start(const Constraints& constraints, size_t beams, double length_penalty);
  void grow(const ScoredToken* words, size_t k, Matrix log_probabilities) override;
  // The best beam of those that lack the fewest tokens.
  const Hypothesis& leading() const override;
  // Beams that contain everything count as done; all of them if none ever did, since the search was
  // cut short.
  std::span<const Hypothesis> finish() override;

 private:
  struct Continuation : Candidate {
    uint32_t node;  // of the constraints, after the token
  };
  void offer(uint32_t from, uint32_t token, float log_probability);
  void choose();

  const size_t most_words_;
  const uint32_t end_;
  const size_t vocabulary_;
  const Constraints* constraints_ = nullptr;
  size_t beams_ = 0;
  std::vector<uint32_t> nodes_;                  // of the live beams
  std::vector<std::vector<Continuation>> best_;  // [states][up to 2b], best first
  std::vector<Continuation> chosen_;             // the next step's beams
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_CONSTRAINED_SEARCH_H_
