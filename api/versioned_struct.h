// The API's structs, as callers know them that were compiled with another version of lightcap.h.
#ifndef LIGHTCAP_API_VERSIONED_STRUCT_H_
#define LIGHTCAP_API_VERSIONED_STRUCT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "engine/runtime/error.h"
#include "lightcap.h"

namespace lightcap::internal {

// The name of a struct and where each of its fields ends.
template <class Struct>
struct StructFields;

#define LIGHTCAP_FIELD_END(field) offsetof(Type, field) + sizeof(Type::field)

template <>
struct StructFields<lightcap_model_options> {
  using Type = lightcap_model_options;
  static constexpr const char* kName = "lightcap_model_options";
  static constexpr size_t kEnds[] = {LIGHTCAP_FIELD_END(struct_size),
                                     LIGHTCAP_FIELD_END(read_into_memory)};
};

template <>
struct StructFields<lightcap_session_options> {
  using Type = lightcap_session_options;
  static constexpr const char* kName = "lightcap_session_options";
  static constexpr size_t kEnds[] = {
      LIGHTCAP_FIELD_END(struct_size), LIGHTCAP_FIELD_END(threads),  LIGHTCAP_FIELD_END(isa),
      LIGHTCAP_FIELD_END(max_beams),   LIGHTCAP_FIELD_END(executor), LIGHTCAP_FIELD_END(low_memory),
      LIGHTCAP_FIELD_END(max_states)};
};

template <>
struct StructFields<lightcap_caption_options> {
  using Type = lightcap_caption_options;
  static constexpr const char* kName = "lightcap_caption_options";
  static constexpr size_t kEnds[] = {
      LIGHTCAP_FIELD_END(struct_size),    LIGHTCAP_FIELD_END(beams),
      LIGHTCAP_FIELD_END(length_penalty), LIGHTCAP_FIELD_END(ignore_exif),
      LIGHTCAP_FIELD_END(max_pixels),     LIGHTCAP_FIELD_END(cancel),
      LIGHTCAP_FIELD_END(on_token),       LIGHTCAP_FIELD_END(on_token_context),
      LIGHTCAP_FIELD_END(deadline_ms),    LIGHTCAP_FIELD_END(work),
      LIGHTCAP_FIELD_END(constraints)};
};

template <>
struct StructFields<lightcap_result> {
  using Type = lightcap_result;
  static constexpr const char* kName = "lightcap_result";
  static constexpr size_t kEnds[] = {
      LIGHTCAP_FIELD_END(struct_size),     LIGHTCAP_FIELD_END(caption),
      LIGHTCAP_FIELD_END(score),           LIGHTCAP_FIELD_END(tokens),
      LIGHTCAP_FIELD_END(token_count),     LIGHTCAP_FIELD_END(concepts),
      LIGHTCAP_FIELD_END(concept_count),   LIGHTCAP_FIELD_END(timings_ms),
      LIGHTCAP_FIELD_END(concept_bytes),   LIGHTCAP_FIELD_END(token_log_probabilities),
      LIGHTCAP_FIELD_END(hypotheses),      LIGHTCAP_FIELD_END(hypothesis_count),
      LIGHTCAP_FIELD_END(hypothesis_bytes)};
};

template <>
struct StructFields<lightcap_frame> {
  using Type = lightcap_frame;
  static constexpr const char* kName = "lightcap_frame";
  static constexpr size_t kEnds[] = {
      LIGHTCAP_FIELD_END(struct_size), LIGHTCAP_FIELD_END(format),
      LIGHTCAP_FIELD_END(orientation), LIGHTCAP_FIELD_END(width),
      LIGHTCAP_FIELD_END(height),      LIGHTCAP_FIELD_END(plane),
      LIGHTCAP_FIELD_END(row_bytes),   LIGHTCAP_FIELD_END(pixel_bytes),
      LIGHTCAP_FIELD_END(full_range),  LIGHTCAP_FIELD_END(bt709)};
};

template <>
struct StructFields<lightcap_features> {
  using Type = lightcap_features;
  static constexpr const char* kName = "lightcap_features";
  static constexpr size_t kEnds[] = {
      LIGHTCAP_FIELD_END(struct_size), LIGHTCAP_FIELD_END(side),
      LIGHTCAP_FIELD_END(channels),    LIGHTCAP_FIELD_END(grid),
      LIGHTCAP_FIELD_END(cell_floats), LIGHTCAP_FIELD_END(row_floats),
      LIGHTCAP_FIELD_END(embedding)};
};

#undef LIGHTCAP_FIELD_END

// Larger than any version of a struct will be: such a size was never set.
inline constexpr size_t kMaxStructSize = 4096;

template <class Struct>
[[noreturn]] void refuse_struct(size_t given, const char* advice) {
  throw Error(ErrorCode::kUsage, std::string(StructFields<Struct>::kName) + ".struct_size is " +
                                     std::to_string(given) + ", this library knows " +
                                     std::to_string(sizeof(Struct)) + " bytes: " + advice);
}

// The bytes of the fields that lie wholly inside `given.struct_size`; an older caller's struct may
// end before the last ones. Throws Error(kUsage) for a size that cannot be meant.
template <class Struct>
size_t known_bytes(const Struct& given) {
  const size_t size = given.struct_size;
  if (size < sizeof size || size > kMaxStructSize) {
    refuse_struct<Struct>(size, "start from its _INIT macro");
  }
  size_t known = 0;
  for (const size_t end : StructFields<Struct>::kEnds) known = end <= size ? end : known;
  return known;
}

// A copy of the caller's options, with defaults for fields that its version of the struct lacks. A
// newer caller may use fields that we don't know only by leaving them zero.
template <class Options>
Options options_or(const Options* given, const Options& defaults) {
  Options options = defaults;
  if (given == nullptr) return options;
  std::memcpy(&options, given, known_bytes(*given));
  const auto* bytes = reinterpret_cast<const uint8_t*>(given);
  if (given->struct_size > sizeof(Options) &&
      std::any_of(bytes + sizeof(Options), bytes + given->struct_size,
                  [](uint8_t byte) { return byte != 0; })) {
    refuse_struct<Options>(given->struct_size,
                           "the rest asks for something that needs a newer LightCap");
  }
  return options;
}

// Fills in what the caller's version of the result has room for, and zeros where it has more than
// we know. The size must have passed known_bytes().
template <class Result>
void give_result(const Result& result, Result& out) {
  const size_t size = out.struct_size;
  std::memcpy(&out, &result, known_bytes(out));
  out.struct_size = size;
  if (size > sizeof result) {
    std::memset(reinterpret_cast<uint8_t*>(&out) + sizeof result, 0, size - sizeof result);
  }
}

// The fields that give_result() filled in, with zeros for fields that the caller's version lacks;
// all zeros of a size that cannot be meant.
template <class Result>
Result known_part(const Result& given) {
  Result result = {};
  if (given.struct_size < sizeof given.struct_size || given.struct_size > kMaxStructSize)
    return result;
  std::memcpy(&result, &given, known_bytes(given));
  return result;
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_API_VERSIONED_STRUCT_H_
