#include "models/beam_search.h"

#include <algorithm>
#include <cmath>

namespace lightcap::internal {

double length_penalized(double sum, size_t length, double alpha) {
  return sum / std::pow(static_cast<double>(length), alpha);
}

void reserve(Hypothesis& hypothesis, size_t slots) {
  hypothesis.tokens.reserve(slots);
  hypothesis.log_probabilities.reserve(slots);
}

BeamSearch::BeamSearch(size_t beams, size_t slots, uint32_t end, size_t vocabulary)
    : end_(end),
      vocabulary_(vocabulary),
      live_(beams),
      next_(beams),
      pool_(beams + 1),
      parents_(beams) {
  for (auto* hypotheses : {&live_, &next_, &pool_}) {
    for (Hypothesis& hypothesis : *hypotheses) reserve(hypothesis, slots);
  }
  reserve(ended_, slots);
  candidates_.reserve(beams * 2 * beams);
}

void BeamSearch::start(size_t beams, double length_penalty) {
  beams_ = beams;
  length_penalty_ = length_penalty;
  live_count_ = 1;
  live_[0].tokens.clear();
  live_[0].log_probabilities.clear();
  live_[0].sum = 0;
  pool_count_ = 0;
}

// A total order, so that results do not depend on how the sort treats equals.
bool BeamSearch::better(const Candidate& a, const Candidate& b) {
  if (a.sum != b.sum) return a.sum > b.sum;
  return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
}

// All continuations, the best 2b of them sorted to the front; no others are kept.
void BeamSearch::collect(const ScoredToken* words, size_t k) {
  candidates_.clear();
  for (uint32_t beam = 0; beam < live_count_; ++beam) {
    for (size_t i = 0; i < k; ++i) {
      const ScoredToken& word = words[beam * k + i];
      if (!std::isfinite(word.log_probability) || word.token >= vocabulary_) continue;
      candidates_.push_back({live_[beam].sum + static_cast<double>(word.log_probability), beam,
                             word.token, word.log_probability});
    }
  }
  const size_t best = std::min(2 * beams_, candidates_.size());
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(best),
                    candidates_.end(), better);
  candidates_.resize(best);
}

void BeamSearch::extend(const Candidate& candidate, Hypothesis& to) const {
  const Hypothesis& from = live_[candidate.beam];
  to.tokens = from.tokens;
  to.tokens.push_back(candidate.token);
  to.log_probabilities = from.log_probabilities;
  to.log_probabilities.push_back(candidate.log_probability);
  to.sum = candidate.sum;
}

// Behind all that are as good or better; where the pool is full the worst one falls out.
void BeamSearch::add_to_pool(const Hypothesis& done) {
  Hypothesis& last = pool_[pool_count_];
  last.tokens = done.tokens;
  last.log_probabilities = done.log_probabilities;
  last.sum = done.sum;
  last.score = length_penalized(done.sum, done.tokens.size(), length_penalty_);
  for (size_t i = pool_count_; i > 0 && pool_[i].score > pool_[i - 1].score; --i)
    std::swap(pool_[i], pool_[i - 1]);
  pool_count_ = std::min(pool_count_ + 1, beams_);
}

void BeamSearch::grow(const ScoredToken* words, size_t k) {
  collect(words, k);
  size_t count = 0;
  for (const Candidate& candidate : candidates_) {
    if (candidate.token == end_) {
      extend(candidate, ended_);
      add_to_pool(ended_);
    } else if (count < beams_) {
      extend(candidate, next_[count]);
      parents_[count++] = candidate.beam;
    }
  }
  std::swap(live_, next_);
  live_count_ = count;
}

bool BeamSearch::hopeless() const {
  if (pool_count_ < beams_) return false;
  const double worst = pool_[pool_count_ - 1].score;
  return std::none_of(live_.begin(), live_.begin() + static_cast<std::ptrdiff_t>(live_count_),
                      [&](const Hypothesis& beam) {
                        return length_penalized(beam.sum, beam.tokens.size(), length_penalty_) >
                               worst;
                      });
}

const Hypothesis& BeamSearch::finish() {
  for (size_t beam = 0; beam < live_count_; ++beam) add_to_pool(live_[beam]);
  live_count_ = 0;
  return pool_[0];
}

}  // namespace lightcap::internal
