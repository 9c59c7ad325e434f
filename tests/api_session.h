// The C API's handles for tests, on the small model of tests/goldens.
#ifndef LIGHTCAP_TESTS_API_SESSION_H_
#define LIGHTCAP_TESTS_API_SESSION_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "lightcap.h"
#include "tests/small_model.h"

namespace lightcap::internal::testing {

struct CloseHandle {
  void operator()(lightcap_model* model) const { lightcap_model_close(model); }
  void operator()(lightcap_session* session) const { lightcap_session_close(session); }
};
using ModelHandle = std::unique_ptr<lightcap_model, CloseHandle>;
using SessionHandle = std::unique_ptr<lightcap_session, CloseHandle>;

inline ModelHandle open_small_model() {
  lightcap_model* model = nullptr;
  EXPECT_EQ(lightcap_model_open(small_model_path().c_str(), nullptr, &model), LIGHTCAP_OK)
      << lightcap_last_error();
  return ModelHandle(model);
}

inline SessionHandle open_session(const lightcap_model* model,
                                  const lightcap_session_options& options) {
  lightcap_session* session = nullptr;
  EXPECT_EQ(lightcap_session_open(model, &options, &session), LIGHTCAP_OK) << lightcap_last_error();
  return SessionHandle(session);
}

inline SessionHandle open_session(const lightcap_model* model, int threads) {
  lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
  options.threads = threads;
  return open_session(model, options);
}

// A picture whose caption takes all stages; 97 x 61.
inline const std::vector<uint8_t>& test_pixels() {
  static const std::vector<uint8_t> pixels = [] {
    std::vector<uint8_t> values(size_t{3} * 97 * 61);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<uint8_t>((i * i / 977 + i / 3) % 256);
    }
    return values;
  }();
  return pixels;
}

inline lightcap_status caption_pixels(lightcap_session* session, lightcap_result& result) {
  return lightcap_caption_pixels(session, test_pixels().data(), 97, 61, 0, nullptr, &result);
}

// Everything that a caption returns but its timings; compared bit by bit.
struct Outcome {
  lightcap_status status = LIGHTCAP_OK;
  std::string caption;
  std::vector<uint32_t> tokens;
  std::vector<double> numbers;

  bool operator==(const Outcome&) const = default;
};

inline Outcome outcome_of(lightcap_status status, const lightcap_result& result) {
  Outcome outcome;
  outcome.status = status;
  if (outcome.status != LIGHTCAP_OK) return outcome;
  outcome.caption = result.caption;
  outcome.tokens.assign(result.tokens, result.tokens + result.token_count);
  outcome.numbers.push_back(result.score);
  for (size_t i = 0; i < result.concept_count; ++i) {
    const lightcap_concept& found = result.concepts[i];
    outcome.numbers.insert(outcome.numbers.end(), {found.similarity, found.score, found.box[0],
                                                   found.box[1], found.box[2], found.box[3]});
  }
  return outcome;
}

inline Outcome outcome_of(lightcap_session* session) {
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  const lightcap_status status = caption_pixels(session, result);
  return outcome_of(status, result);
}

// The result that everybody should get.
inline const Outcome& usual_outcome() {
  static const Outcome outcome = outcome_of(open_session(open_small_model().get(), 1).get());
  return outcome;
}

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_API_SESSION_H_
