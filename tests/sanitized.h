// Tests that repeat themselves do so less often under a sanitizer, where a repetition takes ten to
// thirty times as long and finds what the first ones find: undefined behaviour, not wrong numbers.
#ifndef LIGHTCAP_TESTS_SANITIZED_H_
#define LIGHTCAP_TESTS_SANITIZED_H_

namespace lightcap::internal::testing {

#if defined(LIGHTCAP_SANITIZED)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_SANITIZED_H_
