#include "models/captioner.h"

namespace lightcap::internal {

Captioner::Captioner(const Model& model, size_t beams)
    : decoder_(model.decoder()),
      word_piece_(model.word_piece()),
      slots_(model.config().fusion.caption_slots),
      state_(decoder_, beams) {
  text_.reserve(slots_ * (word_piece_.longest_token() + 1));
}

void Captioner::allocate(Arena& arena, Fusion::State& fusion) {
  decoder_.allocate(arena, fusion, state_);
}

void Captioner::run(const Runtime& runtime, const DecodeOptions& options, StepObserver* observer) {
  hypothesis_ = &decoder_.run(runtime, options, state_, observer);
  word_piece_.decode(hypothesis_->tokens.data(), hypothesis_->tokens.size(), text_);
}

}  // namespace lightcap::internal
