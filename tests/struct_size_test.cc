// Callers that were compiled with another version of lightcap.h: smaller, larger and wild sizes.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "tests/api_session.h"

namespace lightcap::internal::testing {
namespace {

bool error_has(const std::string& text) {
  return std::string(lightcap_last_error()).find(text) != std::string::npos;
}

// A struct of ours with fields that only a later version knows.
template <class Struct>
struct Newer {
  Struct known;
  unsigned char unknown[32];

  explicit Newer(const Struct& from) : known(from), unknown{} {
    if constexpr (requires { known.struct_size; }) known.struct_size = sizeof *this;
  }
};

// A caller's struct that ends after `size` bytes of an _INIT: the rest is not its memory.
template <class Struct>
std::unique_ptr<Struct, void (*)(void*)> older(Struct from, size_t size) {
  from.struct_size = size;
  auto* memory = static_cast<Struct*>(std::malloc(size));
  std::memcpy(static_cast<void*>(memory), &from, size);
  return {memory, std::free};
}

class StructSize : public ::testing::Test {
 protected:
  lightcap_status open(const lightcap_session_options* options) {
    lightcap_session* session = nullptr;
    const lightcap_status status = lightcap_session_open(model_.get(), options, &session);
    session_.reset(session);
    return status;
  }
  lightcap_status caption(const lightcap_caption_options* options) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    return lightcap_caption_pixels(session_.get(), test_pixels().data(), 97, 61, 0, options,
                                   &result);
  }

  ModelHandle model_ = open_small_model();
  SessionHandle session_ = open_session(model_.get(), 1);
};

TEST_F(StructSize, AnOlderCallersOptionsHaveDefaultsAtTheirEnd) {
  lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
  options.threads = 2;
  options.max_beams = 99;  // beyond the size, or out of its range
  for (const size_t size :
       {offsetof(lightcap_session_options, isa), offsetof(lightcap_session_options, max_beams)}) {
    ASSERT_EQ(open(older(options, size).get()), LIGHTCAP_OK) << lightcap_last_error();
    EXPECT_EQ(lightcap_session_threads(session_.get()), 2);
  }
  EXPECT_EQ(open(older(options, offsetof(lightcap_session_options, executor)).get()),
            LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("max_beams is 99"));
  ASSERT_EQ(open(older(options, sizeof(size_t)).get()), LIGHTCAP_OK);
  EXPECT_EQ(lightcap_session_threads(session_.get()), lightcap_default_threads());

  lightcap_caption_options how = LIGHTCAP_CAPTION_OPTIONS_INIT;
  how.max_pixels = 1;
  EXPECT_EQ(caption(older(how, offsetof(lightcap_caption_options, max_pixels)).get()), LIGHTCAP_OK);
  EXPECT_EQ(caption(older(how, sizeof(size_t)).get()), LIGHTCAP_OK);
  lightcap_model* model = nullptr;
  lightcap_model_options access = LIGHTCAP_MODEL_OPTIONS_INIT;
  ASSERT_EQ(
      lightcap_model_open(small_model_path().c_str(), older(access, sizeof(size_t)).get(), &model),
      LIGHTCAP_OK);
  lightcap_model_close(model);
}

TEST_F(StructSize, HalfAFieldIsNoField) {
  lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
  options.threads = 0x01000002;  // a wrong number, whose first half would be a right one
  ASSERT_EQ(open(older(options, offsetof(lightcap_session_options, threads) + 2).get()),
            LIGHTCAP_OK);
  EXPECT_EQ(lightcap_session_threads(session_.get()), lightcap_default_threads());
}

TEST_F(StructSize, ANewerCallersOptionsMayAskForNothingUnknown) {
  Newer<lightcap_session_options> options(LIGHTCAP_SESSION_OPTIONS_INIT);
  EXPECT_EQ(open(&options.known), LIGHTCAP_OK) << lightcap_last_error();
  options.unknown[31] = 1;
  EXPECT_EQ(open(&options.known), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("lightcap_session_options.struct_size is " +
                        std::to_string(sizeof options) + ", this library knows " +
                        std::to_string(sizeof options.known)))
      << lightcap_last_error();
  session_ = open_session(model_.get(), 1);

  Newer<lightcap_caption_options> how(LIGHTCAP_CAPTION_OPTIONS_INIT);
  EXPECT_EQ(caption(&how.known), LIGHTCAP_OK) << lightcap_last_error();
  how.unknown[0] = 1;
  EXPECT_EQ(caption(&how.known), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("lightcap_caption_options.struct_size"));

  Newer<lightcap_model_options> access(LIGHTCAP_MODEL_OPTIONS_INIT);
  lightcap_model* model = nullptr;
  EXPECT_EQ(lightcap_model_open(small_model_path().c_str(), &access.known, &model), LIGHTCAP_OK);
  lightcap_model_close(model);
  access.unknown[5] = 1;
  EXPECT_EQ(lightcap_model_open(small_model_path().c_str(), &access.known, &model),
            LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("lightcap_model_options.struct_size"));
  EXPECT_EQ(lightcap_model_open_buffer("x", 1, &access.known, &model), LIGHTCAP_ERROR_USAGE);
}

TEST_F(StructSize, ZeroAndWildSizesAreRefusedByName) {
  for (const size_t size : {size_t{0}, size_t{7}, size_t{4097}, SIZE_MAX}) {
    const std::string given = ".struct_size is " + std::to_string(size);
    lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
    options.struct_size = size;
    EXPECT_EQ(open(&options), LIGHTCAP_ERROR_USAGE);
    EXPECT_TRUE(error_has("lightcap_session_options" + given)) << lightcap_last_error();
    lightcap_model_options access = LIGHTCAP_MODEL_OPTIONS_INIT;
    access.struct_size = size;
    lightcap_model* model = nullptr;
    EXPECT_EQ(lightcap_model_open(small_model_path().c_str(), &access, &model),
              LIGHTCAP_ERROR_USAGE);
    EXPECT_TRUE(error_has("lightcap_model_options" + given)) << lightcap_last_error();
    session_ = open_session(model_.get(), 1);
    lightcap_caption_options how = LIGHTCAP_CAPTION_OPTIONS_INIT;
    how.struct_size = size;
    EXPECT_EQ(caption(&how), LIGHTCAP_ERROR_USAGE);
    EXPECT_TRUE(error_has("lightcap_caption_options" + given)) << lightcap_last_error();
  }
}

void count_stage(void* context, const char*, const float*, const size_t*, size_t) {
  ++*static_cast<int*>(context);
}

TEST_F(StructSize, AResultsSizeIsCheckedBeforeAnyWork) {
  int stages = 0;
  lightcap_session_set_trace(session_.get(), count_stage, &stages);
  for (const size_t size : {size_t{0}, size_t{4097}, SIZE_MAX}) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    result.struct_size = size;
    EXPECT_EQ(caption_pixels(session_.get(), result), LIGHTCAP_ERROR_USAGE);
    EXPECT_TRUE(error_has("lightcap_result.struct_size is " + std::to_string(size)));
    EXPECT_EQ(result.caption, nullptr);
    // Neither is the file opened: it would be another error.
    EXPECT_EQ(lightcap_caption_file(session_.get(), "no such file", nullptr, &result),
              LIGHTCAP_ERROR_USAGE);
    EXPECT_EQ(lightcap_caption_image(session_.get(), "x", 1, nullptr, &result),
              LIGHTCAP_ERROR_USAGE);
  }
  EXPECT_EQ(stages, 0);
}

TEST_F(StructSize, AnOlderCallersResultIsFilledAsFarAsItGoes) {
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  result.struct_size = offsetof(lightcap_result, concepts);
  ASSERT_EQ(caption_pixels(session_.get(), result), LIGHTCAP_OK);
  EXPECT_EQ(result.struct_size, offsetof(lightcap_result, concepts));
  EXPECT_EQ(result.caption, usual_outcome().caption);
  EXPECT_EQ(result.token_count, usual_outcome().tokens.size());
  EXPECT_EQ(result.concepts, nullptr);
  EXPECT_EQ(result.concept_count, 0u);
  EXPECT_EQ(result.timings_ms.total, 0);
}

TEST_F(StructSize, ConceptsAreFoundByTheirDistance) {
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  ASSERT_EQ(caption_pixels(session_.get(), result), LIGHTCAP_OK);
  EXPECT_EQ(result.concept_bytes, sizeof(lightcap_concept));
  ASSERT_GT(result.concept_count, 0u);
  for (size_t i = 0; i < result.concept_count; ++i)
    EXPECT_EQ(lightcap_concept_at(&result, i), result.concepts + i);
  EXPECT_EQ(lightcap_concept_at(&result, result.concept_count), nullptr);
  EXPECT_EQ(lightcap_concept_at(nullptr, 0), nullptr);

  // As a library would give them whose concepts have more fields.
  const Newer<lightcap_concept> larger[2] = {Newer<lightcap_concept>(result.concepts[0]),
                                             Newer<lightcap_concept>(result.concepts[0])};
  result.concepts = &larger[0].known;
  result.concept_count = 2;
  result.concept_bytes = sizeof larger[0];
  EXPECT_EQ(lightcap_concept_at(&result, 1), &larger[1].known);
}

TEST_F(StructSize, AnOlderCallersConceptsAreFoundToo) {
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  result.struct_size = offsetof(lightcap_result, concept_bytes);
  result.concept_bytes = 12345;  // not a field that it has
  ASSERT_EQ(caption_pixels(session_.get(), result), LIGHTCAP_OK);
  EXPECT_EQ(lightcap_concept_at(&result, 0), result.concepts);
  result.struct_size = 0;
  EXPECT_EQ(lightcap_concept_at(&result, 0), nullptr);
}

TEST_F(StructSize, ANewerCallersResultEndsInZeros) {
  Newer<lightcap_result> result(LIGHTCAP_RESULT_INIT);
  std::memset(result.unknown, 0xab, sizeof result.unknown);
  ASSERT_EQ(caption_pixels(session_.get(), result.known), LIGHTCAP_OK) << lightcap_last_error();
  EXPECT_EQ(result.known.struct_size, sizeof result);
  EXPECT_EQ(result.known.caption, usual_outcome().caption);
  EXPECT_GT(result.known.timings_ms.total, 0);
  for (const unsigned char byte : result.unknown) EXPECT_EQ(byte, 0);
}

}  // namespace
}  // namespace lightcap::internal::testing
