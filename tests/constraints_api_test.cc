// Words that captions must contain, as a host asks for them.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "tests/api_session.h"

namespace lightcap::internal::testing {
namespace {

bool error_has(const std::string& text) {
  return std::string(lightcap_last_error()).find(text) != std::string::npos;
}

struct CloseConstraints {
  void operator()(lightcap_constraints* constraints) const {
    lightcap_constraints_close(constraints);
  }
};
using ConstraintsHandle = std::unique_ptr<lightcap_constraints, CloseConstraints>;

ConstraintsHandle open_constraints(const lightcap_model* model) {
  lightcap_constraints* constraints = nullptr;
  EXPECT_EQ(lightcap_constraints_open(model, &constraints), LIGHTCAP_OK) << lightcap_last_error();
  return ConstraintsHandle(constraints);
}

class ConstraintsApi : public ::testing::Test {
 protected:
  lightcap_status add(const std::vector<const char*>& forms) {
    return lightcap_constraints_add(constraints_.get(), forms.data(), forms.size());
  }
  SessionHandle open_session_for(size_t states) {
    lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
    options.threads = 1;
    options.max_states = states;
    return open_session(model_.get(), options);
  }
  lightcap_status caption(lightcap_session* session, lightcap_result& result) {
    options_.constraints = constraints_.get();
    return lightcap_caption_pixels(session, test_pixels().data(), 97, 61, 0, &options_, &result);
  }
  const char* found(size_t index, const lightcap_result& result) {
    return lightcap_constraints_found(constraints_.get(), index, result.tokens, result.token_count);
  }

  ModelHandle model_ = open_small_model();
  ConstraintsHandle constraints_ = open_constraints(model_.get());
  lightcap_caption_options options_ = LIGHTCAP_CAPTION_OPTIONS_INIT;
  lightcap_result result_ = LIGHTCAP_RESULT_INIT;
};

TEST_F(ConstraintsApi, CaptionsHaveTheWordsAndSayInWhichForm) {
  ASSERT_EQ(add({"poko", "rafo"}), LIGHTCAP_OK) << lightcap_last_error();
  ASSERT_EQ(add({"T\u00c1FE"}), LIGHTCAP_OK) << lightcap_last_error();  // as the model writes: tafe
  EXPECT_EQ(lightcap_constraints_states(constraints_.get()), 4u);
  const SessionHandle session = open_session_for(4);
  for (const int beams : {1, 5}) {
    options_.beams = beams;
    ASSERT_EQ(caption(session.get(), result_), LIGHTCAP_OK) << lightcap_last_error();
    EXPECT_EQ(result_.hypothesis_count, static_cast<size_t>(beams));
    for (size_t i = 0; i < result_.hypothesis_count; ++i) {
      const lightcap_hypothesis& one = *lightcap_hypothesis_at(&result_, i);
      for (const size_t word : {size_t{0}, size_t{1}}) {
        EXPECT_NE(lightcap_constraints_found(constraints_.get(), word, one.tokens, one.token_count),
                  nullptr);
      }
      EXPECT_NE(std::strstr(one.caption, "tafe"), nullptr) << one.caption;
    }
    const std::string first = found(0, result_);
    EXPECT_TRUE(first == "poko" || first == "rafo");
    EXPECT_NE(std::strstr(result_.caption, first.c_str()), nullptr);
    EXPECT_STREQ(found(1, result_), "T\u00c1FE");
    EXPECT_EQ(found(2, result_), nullptr);
  }
}

TEST_F(ConstraintsApi, WithoutAWordNothingChanges) {
  const SessionHandle session = open_session_for(0);
  EXPECT_EQ(lightcap_constraints_states(constraints_.get()), 1u);
  const lightcap_status status = caption(session.get(), result_);
  EXPECT_EQ(outcome_of(status, result_), usual_outcome());
  ASSERT_EQ(add({"tafe"}), LIGHTCAP_OK);
  EXPECT_EQ(found(0, result_), nullptr);
}

TEST_F(ConstraintsApi, WordsThatNoCaptionCanHaveAreNamed) {
  const auto refuses = [&](const std::vector<const char*>& forms, const std::string& message) {
    EXPECT_EQ(add(forms), LIGHTCAP_ERROR_USAGE);
    EXPECT_TRUE(error_has(message)) << lightcap_last_error();
    EXPECT_EQ(lightcap_constraints_states(constraints_.get()), 1u);
  };
  refuses({"tafe", "\u03bb\u03cc\u03b3\u03bf\u03c2"}, "no pieces for it");
  refuses({"tafe", " "}, "there is no word in it");
  refuses({""}, "there is no word in it");
  refuses({"tafe tafe tafe tafe tafe tafe tafe tafe tafe tafe tafe tafe"},
          "take 12 tokens, a caption of this model has 11 at most");
  refuses({}, "count is 0, expected 1 to 16");
  refuses({"tafe", nullptr}, "a form is NULL");
  for (int i = 0; i < 4; ++i) ASSERT_EQ(add({"tafe"}), LIGHTCAP_OK);
  EXPECT_EQ(add({"tafe"}), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("4 words at most, not 5"));
}

TEST_F(ConstraintsApi, ASessionHasRoomForWhatItWasOpenedFor) {
  ASSERT_EQ(add({"tafe"}), LIGHTCAP_OK);
  const SessionHandle none = open_session_for(0), two = open_session_for(2);
  EXPECT_LT(lightcap_session_peak_bytes(none.get()), lightcap_session_peak_bytes(two.get()));
  EXPECT_EQ(caption(none.get(), result_), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("have 2 states, this session was opened for 0")) << lightcap_last_error();
  EXPECT_EQ(caption(two.get(), result_), LIGHTCAP_OK);
  ASSERT_EQ(add({"poko"}), LIGHTCAP_OK);
  EXPECT_EQ(caption(two.get(), result_), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("have 4 states")) << lightcap_last_error();
  lightcap_session* session = nullptr;
  lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
  options.max_states = 129;
  EXPECT_EQ(lightcap_session_open(model_.get(), &options, &session), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("max_states is 129, expected 0 to 128"));
}

TEST_F(ConstraintsApi, WordsBelongToAModelAndOutliveIt) {
  ASSERT_EQ(add({"tafe"}), LIGHTCAP_OK);
  const SessionHandle session = open_session_for(2);
  const ModelHandle other = open_small_model();
  const SessionHandle others = open_session(other.get(), 1);
  EXPECT_EQ(caption(others.get(), result_), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("not of this session's model")) << lightcap_last_error();
  model_.reset();
  EXPECT_EQ(caption(session.get(), result_), LIGHTCAP_OK);
  EXPECT_STREQ(found(0, result_), "tafe");
}

// The text that on_token sees is that of the beam that lacks the least.
TEST_F(ConstraintsApi, ACaptionThatIsStoppedMayLackWords) {
  ASSERT_EQ(add({"tafetafe"}), LIGHTCAP_OK);
  const SessionHandle session = open_session_for(3);
  std::string last;
  options_.beams = 3;
  options_.on_token_context = &last;
  options_.on_token = [](void* context, uint32_t, const char* text) {
    *static_cast<std::string*>(context) = text;
    return static_cast<int>(LIGHTCAP_STOP);
  };
  ASSERT_EQ(caption(session.get(), result_), LIGHTCAP_OK);
  EXPECT_EQ(last, "tafe");
  EXPECT_EQ(result_.token_count, 1u);
  EXPECT_EQ(found(0, result_), nullptr);
  options_.on_token = [](void* context, uint32_t, const char* text) {
    *static_cast<std::string*>(context) = text;
    return static_cast<int>(LIGHTCAP_GO_ON);
  };
  ASSERT_EQ(caption(session.get(), result_), LIGHTCAP_OK);
  EXPECT_NE(last.find("tafetafe"), std::string::npos) << last;
  EXPECT_STREQ(found(0, result_), "tafetafe");
}

TEST_F(ConstraintsApi, NullIsFineWhereItMayBe) {
  EXPECT_EQ(lightcap_constraints_states(nullptr), 0u);
  EXPECT_EQ(lightcap_constraints_found(nullptr, 0, nullptr, 0), nullptr);
  EXPECT_EQ(lightcap_constraints_found(constraints_.get(), 0, nullptr, 0), nullptr);
  lightcap_constraints_close(nullptr);
  lightcap_constraints* constraints = constraints_.get();
  EXPECT_EQ(lightcap_constraints_open(nullptr, &constraints), LIGHTCAP_ERROR_USAGE);
  EXPECT_EQ(constraints, nullptr);
  EXPECT_EQ(lightcap_constraints_open(model_.get(), nullptr), LIGHTCAP_ERROR_USAGE);
  EXPECT_EQ(lightcap_constraints_add(nullptr, nullptr, 1), LIGHTCAP_ERROR_USAGE);
  EXPECT_EQ(lightcap_constraints_add(constraints_.get(), nullptr, 1), LIGHTCAP_ERROR_USAGE);
}

}  // namespace
}  // namespace lightcap::internal::testing
