#include "models/constrained_search.h"

#include <algorithm>
#include <cmath>

namespace lightcap::internal {

ConstrainedSearch::ConstrainedSearch(size_t beams, size_t states, size_t slots, uint32_t end,
                                     size_t vocabulary)
    : Beams(beams * states, beams, slots),
      most_words_(slots - 1),
      end_(end),
      vocabulary_(vocabulary),
      best_(states) {
  nodes_.reserve(beams * states);
  for (std::vector<Continuation>& best : best_) best.reserve(2 * beams + 1);
  chosen_.reserve(beams * states);
}

void ConstrainedSearch::start(const Constraints& constraints, size_t beams, double length_penalty) {
  constraints_ = &constraints;
  beams_ = beams;
  nodes_.assign(1, Constraints::kStart);
  Beams::start(beams, length_penalty);
}

// Keeps a continuation if it is possible and among the best 2b of its state.
void ConstrainedSearch::offer(uint32_t from, uint32_t token, float log_probability) {
  if (!std::isfinite(log_probability) || token >= vocabulary_) return;
  const Hypothesis& words = beam(from);
  const uint32_t node = constraints_->next(nodes_[from], token);
  const size_t room = token == end_ ? 0 : most_words_ - words.tokens.size() - 1;
  if (constraints_->tokens_left(node) > room) return;
  std::vector<Continuation>& best = best_[constraints_->state_of(node)];
  const double sum = words.sum + static_cast<double>(log_probability);
  const Continuation offered = {{sum, from, token, log_probability}, node};
  best.insert(std::upper_bound(best.begin(), best.end(), offered, better), offered);
  if (best.size() > 2 * beams_) best.pop_back();
}

// Captions that end go to the pool; the others that are kept are sorted, whatever their states.
void ConstrainedSearch::choose() {
  chosen_.clear();
  for (const std::vector<Continuation>& best : best_) {
    size_t count = 0;
    for (const Continuation& continuation : best) {
      if (continuation.token == end_) {
        end(continuation);
      } else if (count < beams_) {
        chosen_.push_back(continuation);
        ++count;
      }
    }
  }
  std::sort(chosen_.begin(), chosen_.end(), better);
}

void ConstrainedSearch::grow(const ScoredToken* words, size_t k, Matrix log_probabilities) {
  for (std::vector<Continuation>& best : best_) best.clear();
  for (uint32_t i = 0; i < live(); ++i) {
    for (size_t j = 0; j < k; ++j) {
      const ScoredToken& word = words[i * k + j];
      if (word.token < vocabulary_ && !constraints_->has_token(word.token))
        offer(i, word.token, word.log_probability);
    }
    for (const uint32_t token : constraints_->tokens())
      offer(i, token, log_probabilities.row(i)[token]);
  }
  choose();
  nodes_.clear();
  for (const Continuation& continuation : chosen_) {
    live_on(continuation);
    nodes_.push_back(continuation.node);
  }
  turn();
}

const Hypothesis& ConstrainedSearch::leading() const {
  const auto nearest = std::min_element(nodes_.begin(), nodes_.end(), [&](uint32_t a, uint32_t b) {
    return constraints_->tokens_left(a) < constraints_->tokens_left(b);
  });
  return beam(static_cast<size_t>(nearest - nodes_.begin()));
}

std::span<const Hypothesis> ConstrainedSearch::finish() {
  for (size_t i = 0; i < live(); ++i) {
    if (constraints_->tokens_left(nodes_[i]) == 0) add_to_pool(beam(i));
  }
  if (done().empty()) {
    for (size_t i = 0; i < live(); ++i) add_to_pool(beam(i));
  }
  stop();
  return done();
}

}  // namespace lightcap::internal
