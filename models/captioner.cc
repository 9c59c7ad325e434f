#include "models/captioner.h"

namespace lightcap::internal {

Captioner::Captioner(const Model& model, const SearchRoom& room)
    : decoder_(model.decoder()),
      word_piece_(model.word_piece()),
      slots_(model.config().fusion.caption_slots),
      state_(decoder_, room),
      texts_(room.beams) {
  for (std::string& text : texts_) text.reserve(room_for_text());
}

void Captioner::allocate(Arena& arena, Fusion::State& fusion) {
  decoder_.allocate(arena, fusion, state_);
}

void Captioner::run(const Runtime& runtime, const DecodeOptions& options, StepObserver* observer) {
  hypotheses_ = decoder_.run(runtime, options, state_, observer);
  for (size_t i = 0; i < hypotheses_.size(); ++i) write_text(hypotheses_[i], texts_[i]);
}

}  // namespace lightcap::internal
