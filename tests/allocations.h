// The number of times that the program has asked operator new for memory. Link allocations.cc.
#ifndef LIGHTCAP_TESTS_ALLOCATIONS_H_
#define LIGHTCAP_TESTS_ALLOCATIONS_H_

#include <cstddef>

namespace lightcap::internal::testing {

size_t allocations();

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_ALLOCATIONS_H_
