#include "cli/result_json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "cli/output.h"

namespace lightcap::internal::cli {

using nlohmann::ordered_json;

namespace {

// The best `count` captions, the best one first.
ordered_json alternatives(const lightcap_result& result, size_t count) {
  ordered_json list = ordered_json::array();
  for (size_t i = 0; i < std::min(count, result.hypothesis_count); ++i) {
    const lightcap_hypothesis& found = *lightcap_hypothesis_at(&result, i);
    list.push_back(
        json_object("caption", found.caption, "score", found.score, "tokens",
                    std::vector<uint32_t>(found.tokens, found.tokens + found.token_count)));
  }
  return list;
}

// The form of each word of --must-contain that the caption has.
std::vector<std::string> forms_of(const lightcap_result& result,
                                  const lightcap_constraints* constraints, size_t words) {
  std::vector<std::string> forms;
  for (size_t i = 0; i < words; ++i) {
    const char* form =
        lightcap_constraints_found(constraints, i, result.tokens, result.token_count);
    if (form != nullptr) forms.emplace_back(form);
  }
  return forms;
}

}  // namespace

ordered_json result_json(const std::string& image, const lightcap_result& result,
                         const JsonExtras& extras) {
  ordered_json concepts = ordered_json::array();
  for (size_t i = 0; i < result.concept_count; ++i) {
    const lightcap_concept& found = *lightcap_concept_at(&result, i);
    concepts.push_back(json_object("label", found.label, "similarity", found.similarity, "score",
                                   found.score, "box", found.box));
  }
  const lightcap_timings& ms = result.timings_ms;
  const float* log_probabilities = result.token_log_probabilities;
  ordered_json line =
      json_object("image", image, "caption", result.caption, "score", result.score, "tokens",
                  std::vector<uint32_t>(result.tokens, result.tokens + result.token_count),
                  "token_log_probabilities",
                  std::vector<float>(log_probabilities, log_probabilities + result.token_count));
  if (extras.constraints != nullptr)
    line["contains"] = forms_of(result, extras.constraints, extras.words);
  if (extras.alternatives > 0) line["alternatives"] = alternatives(result, extras.alternatives);
  line["concepts"] = std::move(concepts);
  line["timings_ms"] =
      json_object("read_image", ms.read_image, "preprocess", ms.preprocess, "detector", ms.detector,
                  "image_encoder", ms.image_encoder, "concepts", ms.concepts, "fusion_prefix",
                  ms.fusion_prefix, "decoding", ms.decoding, "total", ms.total);
  return line;
}

}  // namespace lightcap::internal::cli
