// Beam search over words, apart from what computes their probabilities (paper, "implementation
// details": beam size 5).
#ifndef LIGHTCAP_MODELS_BEAM_SEARCH_H_
#define LIGHTCAP_MODELS_BEAM_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/runtime/ops.h"
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

// A beam with one word more.
struct Candidate {
  double sum;
  uint32_t beam, token;
  float log_probability;
};

// A total order, so that results do not depend on how a sort treats equals: among equal sums the
// lower beam and then the lower word comes first.
bool better(const Candidate& a, const Candidate& b);

// Common to searches: the captions under way (beams) and those that are done (the pool, which
// keeps the best). Allocates only when it is made.
class Beams {
 public:
  virtual ~Beams() = default;

  // One step. words [live()][k], each beam's k likeliest next words, best first, of
  // log_probabilities [live()][vocabulary]. Continuations with a log-probability that is not
  // finite, and words beyond the vocabulary, are left out.
  virtual void grow(const ScoredToken* words, size_t k, Matrix log_probabilities) = 0;
  // The beam to show while there are any.
  virtual const Hypothesis& leading() const { return beam(0); }
  // Ends the search, and returns done(). Beams that are still under way count as done.
  virtual std::span<const Hypothesis> finish() = 0;

  // Beams under way, best first; none is left where every caption has ended.
  size_t live() const { return live_count_; }
  const Hypothesis& beam(size_t i) const { return live_[i]; }
  // After a step: the index that beam i's first words had as a beam before. [live()]
  const uint32_t* parents() const { return parents_.data(); }

  // No beam can come into the pool any more: the pool is full, and every beam's score as it is, if
  // it ended now, is no better than the worst there.
  bool hopeless() const;
  // The captions that are done, best first, among equals the one that was done first; after
  // finish() all that are left. Valid until the next step or start.
  std::span<const Hypothesis> done() const { return {pool_.data(), pool_count_}; }

 protected:
  // Room for so many beams and captions that are done, of at most `slots` words.
  Beams(size_t beams, size_t done, size_t slots);

  // Begins a search with one empty beam, which keeps so many captions that are done.
  void start(size_t done, double length_penalty);
  // A step: some candidates end, some live on, and those that live on become the beams.
  void end(const Candidate& candidate);
  void live_on(const Candidate& candidate);
  void turn();
  // No beam is left under way; those that are to count as done have been added.
  void stop() { live_count_ = 0; }
  void add_to_pool(const Hypothesis& done);

 private:
  void extend(const Candidate& candidate, Hypothesis& to) const;

  size_t most_done_ = 0;
  double length_penalty_ = 1;
  std::vector<Hypothesis> live_, next_;  // [beams]
  size_t live_count_ = 0, next_count_ = 0;
  std::vector<uint32_t> parents_;
  std::vector<Hypothesis> pool_;  // [done + 1], best first; the last place is for a new one
  size_t pool_count_ = 0;
  Hypothesis ended_;  // the one that goes to the pool
};

// At each step the caller says for every beam which words are likeliest to come next; of all
// continuations the best 2b are looked at, those that end go to the pool, which keeps the b best,
// and the best b others become the new beams.
class BeamSearch final : public Beams {
 public:
  // For at most `beams` beams, captions of at most `slots` words, the last of which is `end` unless
  // there is no room for it, and words below `vocabulary`.
  BeamSearch(size_t beams, size_t slots, uint32_t end, size_t vocabulary);

  // Begins a search with one empty beam.
  void start(size_t beams, double length_penalty);
  // Does not look at log_probabilities.
  void grow(const ScoredToken* words, size_t k, Matrix log_probabilities) override;
  std::span<const Hypothesis> finish() override;

 private:
  void collect(const ScoredToken* words, size_t k);

  const uint32_t end_;
  const size_t vocabulary_;
  size_t beams_ = 0;
  std::vector<Candidate> candidates_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_BEAM_SEARCH_H_
