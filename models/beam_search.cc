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

bool better(const Candidate& a, const Candidate& b) {
  if (a.sum != b.sum) return a.sum > b.sum;
  return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
}

// ---- Common to searches ----

Beams::Beams(size_t beams, size_t done, size_t slots)
    : live_(beams), next_(beams), parents_(beams), pool_(done + 1) {
  for (auto* hypotheses : {&live_, &next_, &pool_}) {
    for (Hypothesis& hypothesis : *hypotheses) reserve(hypothesis, slots);
  }
  reserve(ended_, slots);
}

void Beams::start(size_t done, double length_penalty) {
  most_done_ = done;
  length_penalty_ = length_penalty;
  live_count_ = 1;
  live_[0].tokens.clear();
  live_[0].log_probabilities.clear();
  live_[0].sum = 0;
  next_count_ = 0;
  pool_count_ = 0;
}

void Beams::extend(const Candidate& candidate, Hypothesis& to) const {
  const Hypothesis& from = live_[candidate.beam];
  to.tokens = from.tokens;
  to.tokens.push_back(candidate.token);
  to.log_probabilities = from.log_probabilities;
  to.log_probabilities.push_back(candidate.log_probability);
  to.sum = candidate.sum;
}

void Beams::end(const Candidate& candidate) {
  extend(candidate, ended_);
  add_to_pool(ended_);
}

void Beams::live_on(const Candidate& candidate) {
  extend(candidate, next_[next_count_]);
  parents_[next_count_++] = candidate.beam;
}

void Beams::turn() {
  std::swap(live_, next_);
  live_count_ = next_count_;
  next_count_ = 0;
}

// Behind all that are as good or better; where the pool is full the worst one falls out.
void Beams::add_to_pool(const Hypothesis& done) {
  Hypothesis& last = pool_[pool_count_];
  last.tokens = done.tokens;
  last.log_probabilities = done.log_probabilities;
  last.sum = done.sum;
  last.score = length_penalized(done.sum, done.tokens.size(), length_penalty_);
  for (size_t i = pool_count_; i > 0 && pool_[i].score > pool_[i - 1].score; --i)
    std::swap(pool_[i], pool_[i - 1]);
  pool_count_ = std::min(pool_count_ + 1, most_done_);
}

bool Beams::hopeless() const {
  if (pool_count_ < most_done_) return false;
  const double worst = pool_[pool_count_ - 1].score;
  return std::none_of(live_.begin(), live_.begin() + static_cast<std::ptrdiff_t>(live_count_),
                      [&](const Hypothesis& beam) {
                        return length_penalized(beam.sum, beam.tokens.size(), length_penalty_) >
                               worst;
                      });
}

// ---- Beam search ----

BeamSearch::BeamSearch(size_t beams, size_t slots, uint32_t end, size_t vocabulary)
    : Beams(beams, beams, slots), end_(end), vocabulary_(vocabulary) {
  candidates_.reserve(beams * 2 * beams);
}

void BeamSearch::start(size_t beams, double length_penalty) {
  beams_ = beams;
  Beams::start(beams, length_penalty);
}

// All continuations, the best 2b of them sorted to the front; no others are kept.
void BeamSearch::collect(const ScoredToken* words, size_t k) {
  candidates_.clear();
  for (uint32_t i = 0; i < live(); ++i) {
    for (size_t j = 0; j < k; ++j) {
      const ScoredToken& word = words[i * k + j];
      if (!std::isfinite(word.log_probability) || word.token >= vocabulary_) continue;
      candidates_.push_back({beam(i).sum + static_cast<double>(word.log_probability), i, word.token,
                             word.log_probability});
    }
  }
  const size_t best = std::min(2 * beams_, candidates_.size());
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(best),
                    candidates_.end(), better);
  candidates_.resize(best);
}

void BeamSearch::grow(const ScoredToken* words, size_t k, Matrix) {
  collect(words, k);
  size_t count = 0;
  for (const Candidate& candidate : candidates_) {
    if (candidate.token == end_) {
      end(candidate);
    } else if (count < beams_) {
      live_on(candidate);
      ++count;
    }
  }
  turn();
}

std::span<const Hypothesis> BeamSearch::finish() {
  for (size_t i = 0; i < live(); ++i) add_to_pool(beam(i));
  stop();
  return done();
}

}  // namespace lightcap::internal
