// The words that captions of a model must contain, as text.
#ifndef LIGHTCAP_MODELS_REQUIRED_WORDS_H_
#define LIGHTCAP_MODELS_REQUIRED_WORDS_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/constraints.h"
#include "models/model.h"

namespace lightcap::internal {

class RequiredWords {
 public:
  // Keeps the model.
  explicit RequiredWords(std::shared_ptr<const Model> model);

  // Captions must contain one of these forms as well: a word each, or several. Throws Error(kUsage)
  // where the vocabulary lacks pieces of a form, where not all fits into a caption, or where it is
  // too much for Constraints; then everything is as before.
  void add(std::vector<std::string> forms);

  const Model& model() const { return *model_; }
  const Constraints& constraints() const { return constraints_; }
  // The form of the index-th word that a caption of these tokens contains; null where there is
  // none.
  const std::string* find(size_t index, std::span<const uint32_t> tokens) const;

 private:
  Constraints compile(const std::vector<Forms>& tokens) const;

  const std::shared_ptr<const Model> model_;
  std::vector<std::vector<std::string>> words_;  // each in its forms
  std::vector<Forms> tokens_;                    // of words_
  Constraints constraints_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_REQUIRED_WORDS_H_
