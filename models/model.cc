#include "models/model.h"

#include "engine/io/limits.h"
#include "engine/runtime/error.h"
#include "engine/text/unicode.h"

namespace lightcap::internal {
namespace {

// The list of strings under `key`, which has to have `expected` of them.
const std::vector<std::string_view>& string_list(const WeightsFile& file, const char* key,
                                                 uint64_t expected) {
  const Value* value = file.find_value(key);
  if (value == nullptr || !std::holds_alternative<std::vector<std::string_view>>(*value)) {
    throw Error(ErrorCode::kModel,
                file.source() + ": the key " + key + " is missing or not a list of strings");
  }
  const auto& strings = std::get<std::vector<std::string_view>>(*value);
  if (strings.size() != expected) {
    throw Error(ErrorCode::kModel, file.source() + ": the key " + key + " has " +
                                       std::to_string(strings.size()) + " strings, expected " +
                                       std::to_string(expected));
  }
  return strings;
}

// The same, checked to be UTF-8, which printing a caption or label relies on, and not too long; the
// error names the first string that is not.
const std::vector<std::string_view>& checked_texts(const WeightsFile& file, const char* key,
                                                   uint64_t expected, uint64_t longest) {
  const std::vector<std::string_view>& texts = string_list(file, key, expected);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto fail = [&](const std::string& what) {
      throw Error(ErrorCode::kModel, file.source() + ": the key " + key + ": string " +
                                         std::to_string(i) + " " + what);
    };
    if (texts[i].size() > longest) {
      fail("has " + std::to_string(texts[i].size()) + " bytes, the limit is " +
           std::to_string(longest));
    }
    const size_t valid = valid_utf8_prefix(texts[i]);
    if (valid < texts[i].size()) fail("is not UTF-8 from byte " + std::to_string(valid) + " on");
  }
  return texts;
}

}  // namespace

Model::Model(WeightsFile file)
    : weights_(std::move(file)),
      word_piece_(checked_texts(weights_.file(), "vocabulary", config().fusion.vocabulary,
                                limits::kTokenBytes)),
      image_encoder_(weights_),
      detector_(weights_),
      concept_extractor_(weights_),
      modulator_(weights_),
      fusion_(weights_),
      head_(weights_),
      decoder_(weights_, fusion_, head_, word_piece_.special_tokens()),
      winograd_cache_(std::make_unique<WinogradCache>(&weights_.file())) {
  for (const std::string_view label : checked_texts(
           weights_.file(), "labels", config().concept_extractor.vocabulary, limits::kLabelBytes)) {
    labels_.emplace_back(label);
    label_tokens_.push_back(word_piece_.encode(label));
  }
}

}  // namespace lightcap::internal
