// Expectations on the words of an error.
#ifndef LIGHTCAP_TESTS_EXPECT_ERROR_H_
#define LIGHTCAP_TESTS_EXPECT_ERROR_H_

#include <gtest/gtest.h>

#include <string>

#include "engine/runtime/error.h"

namespace lightcap::internal::testing {

// The message of the error that `function` has to throw.
template <class Function>
std::string error_of(Function&& function, ErrorCode code = ErrorCode::kCheckpoint) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

inline void expect_has(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in: " << text;
}
inline void expect_lacks(const std::string& text, const std::string& part) {
  EXPECT_EQ(text.find(part), std::string::npos) << "\"" << part << "\" in: " << text;
}

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_EXPECT_ERROR_H_
