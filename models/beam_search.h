// Beam search over words, apart from what computes their probabilities (paper, "implementation
// details": beam size 5).
#ifndef LIGHTCAP_MODELS_BEAM_SEARCH_H_
#define LIGHTCAP_MODELS_BEAM_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/ensemble_head.h"

namespace lightcap::internal {

inline constexpr size_t kMaxBeams = 32;

// A caption under way or done, [CLS] left out, [SEP] included.
struct Hypothesis {
  std::vector<uint32_t> tokens;
  std::vector<float> log_probabilities;  // of each token, given those before it
  double sum = 0;                        // of log-probabilities
  double score = 0;                      // sum / length^alpha, once it is done
};

// Takes memory for so many words, so that adding them takes none.
void reserve(Hypothesis& hypothesis, size_t slots);

// sum / length^alpha, the score of a caption of `length` words.
double length_penalized(double sum, size_t length, double alpha);

// The captions under way (beams) and those that are done (the pool). At each step the caller says
// for every beam which words are likeliest to come next; of all continuations the best 2b are
// looked at, those that end go to the pool, which keeps the b best, and the best b others become
// the new beams. Allocates only when it is made.
class BeamSearch {
 public:
  // For at most `beams` beams, captions of at most `slots` words, the last of which is `end` unless
  // there is no room for it, and words below `vocabulary`.
  BeamSearch(size_t beams, size_t slots, uint32_t end, size_t vocabulary);

  // Begins a search with one empty beam.
  void start(size_t beams, double length_penalty);

  // Beams under way, best first; none is left where every caption has ended.
  size_t live() const { return live_count_; }
  const Hypothesis& beam(size_t i) const { return live_[i]; }
  // After grow(): the index that beam i's first words had as a beam before. [live()]
  const uint32_t* parents() const { return parents_.data(); }

  // One step. words [live()][k], each beam's k likeliest next words, best first. Continuations with
  // a log-probability that is not finite, and words beyond the vocabulary, are left out. Among
  // equal sums the lower beam and then the lower word comes first.
  void grow(const ScoredToken* words, size_t k);
  // No beam can come into the pool any more: the pool is full, and every beam's score as it is, if
  // it ended now, is no better than the worst there.
  bool hopeless() const;
  // Ends the search: beams that are still under way count as done. The best caption, among equals
  // the one that was done first; valid until the next start(). The pool must not be empty, or a
  // beam under way.
  const Hypothesis& finish();
  // The captions that are done, best first: after finish() all that are left. Valid until the next
  // grow() or start().
  std::span<const Hypothesis> done() const { return {pool_.data(), pool_count_}; }

 private:
  struct Candidate {
    double sum;
    uint32_t beam, token;
    float log_probability;
  };
  static bool better(const Candidate& a, const Candidate& b);
  void collect(const ScoredToken* words, size_t k);
  void extend(const Candidate& candidate, Hypothesis& to) const;
  void add_to_pool(const Hypothesis& done);

  const uint32_t end_;
  const size_t vocabulary_;
  size_t beams_ = 0;
  double length_penalty_ = 1;
  std::vector<Hypothesis> live_, next_;  // [beams]
  size_t live_count_ = 0;
  std::vector<Hypothesis> pool_;  // [beams + 1], best first; the last place is for a new one
  size_t pool_count_ = 0;
  Hypothesis ended_;  // the one that goes to the pool
  std::vector<uint32_t> parents_;
  std::vector<Candidate> candidates_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_BEAM_SEARCH_H_
