// Decoding: a caption's words and text, from the prefix.
#ifndef LIGHTCAP_MODELS_CAPTIONER_H_
#define LIGHTCAP_MODELS_CAPTIONER_H_

#include <span>
#include <string>
#include <vector>

#include "models/model.h"

namespace lightcap::internal {

class Captioner {
 public:
  // `model` outlives it.
  Captioner(const Model& model, const SearchRoom& room);

  // Takes memory of the arena; `fusion` outlives it.
  void allocate(Arena& arena, Fusion::State& fusion);
  // Plans a step of as many captions as there is room for; a caption takes at most so many steps.
  void plan(const Runtime& runtime) { decoder_.plan(runtime, state_); }
  size_t most_steps() const { return slots_ - 1; }

  // Writes a caption for the prefix. `observer` may be null. Throws Error(kModel) where damaged
  // weights make NaN.
  void run(const Runtime& runtime, const DecodeOptions& options, StepObserver* observer);

  // The last caption; valid until the next one.
  const Hypothesis& hypothesis() const { return hypotheses_.front(); }
  const std::string& text() const { return texts_.front(); }
  // All captions that beam search found, best first, and their texts: up to DecodeOptions::beams.
  std::span<const Hypothesis> hypotheses() const { return hypotheses_; }
  const std::string& text(size_t i) const { return texts_[i]; }
  // The text of any caption of this model, in `text`, which room_for_text() has room for.
  void write_text(const Hypothesis& caption, std::string& text) const {
    word_piece_.decode(caption.tokens.data(), caption.tokens.size(), text);
  }
  size_t room_for_text() const { return slots_ * (word_piece_.longest_token() + 1); }
  size_t steps() const { return state_.steps; }

  // The parts of a greedy step, for benchmarks after run(): the one at slot t, without its head;
  // and the head alone.
  void step(const Runtime& runtime, size_t t) { decoder_.step(runtime, state_, 1, t); }
  void find_word(const Runtime& runtime) { decoder_.find_words(runtime, state_, 1, 1, {.k = 1}); }

 private:
  const Decoder& decoder_;
  const WordPiece& word_piece_;
  const size_t slots_;
  Decoder::State state_;
  std::span<const Hypothesis> hypotheses_;
  std::vector<std::string> texts_;  // [beams]
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_CAPTIONER_H_
