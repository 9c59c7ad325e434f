#include "models/required_words.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

std::vector<uint32_t> tokens_of(const WordPiece& word_piece, const std::string& form) {
  std::vector<uint32_t> tokens = word_piece.encode(form);
  if (tokens.empty()) {
    throw Error(ErrorCode::kUsage,
                "a caption cannot have to contain \"" + form + "\": there is no word in it");
  }
  if (std::count(tokens.begin(), tokens.end(), word_piece.special_tokens().unk) > 0) {
    throw Error(ErrorCode::kUsage, "no caption can contain \"" + form +
                                       "\": the model's vocabulary has no pieces for it");
  }
  return tokens;
}

}  // namespace

RequiredWords::RequiredWords(std::shared_ptr<const Model> model)
    : model_(std::move(model)), constraints_(compile({})) {}

Constraints RequiredWords::compile(const std::vector<Forms>& tokens) const {
  const WordPiece& word_piece = model_->word_piece();
  std::vector<bool> continues;
  for (uint32_t id = 0; id < word_piece.size(); ++id)
    continues.push_back(word_piece.continues_word(id));
  Constraints constraints(tokens, continues);
  const size_t least = constraints.tokens_left(Constraints::kStart);
  const size_t room = model_->config().fusion.caption_slots - 1;
  if (least > room) {
    throw Error(ErrorCode::kUsage,
                "the words that a caption must contain take " + std::to_string(least) +
                    " tokens, a caption of this model has " + std::to_string(room) + " at most");
  }
  return constraints;
}

void RequiredWords::add(std::vector<std::string> forms) {
  std::vector<Forms> tokens = tokens_;
  tokens.emplace_back();
  for (const std::string& form : forms)
    tokens.back().push_back(tokens_of(model_->word_piece(), form));
  Constraints constraints = compile(tokens);
  words_.push_back(std::move(forms));
  tokens_ = std::move(tokens);
  constraints_ = std::move(constraints);
}

const std::string* RequiredWords::find(size_t index, std::span<const uint32_t> tokens) const {
  const std::optional<size_t> form = constraints_.find(index, tokens);
  return form ? &words_[index][*form] : nullptr;
}

}  // namespace lightcap::internal
