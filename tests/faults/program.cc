// Makes a program of ours fail an allocation: the one whose number stands in the environment's
// LIGHTCAP_FAIL_ALLOCATION, counted from before its globals are made. Linked to its main.cc.
#include <unistd.h>

#include <cstdlib>
#include <new>

#include "tests/faults/faults.h"

// Just after the programs have said what becomes of an exception that comes before main().
[[gnu::constructor(102)]] static void fail_allocation() {
  const char* number = std::getenv("LIGHTCAP_FAIL_ALLOCATION");
  lightcap::internal::testing::when_allocation_fails([] {
    constexpr char kWords[] = "the allocation failed\n";
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kWords, sizeof kWords - 1);
  });
  alignas(lightcap::internal::testing::AllocationFault) static unsigned char
      fault[sizeof(lightcap::internal::testing::AllocationFault)];
  new (fault) lightcap::internal::testing::AllocationFault(
      number == nullptr ? 0 : std::strtoull(number, nullptr, 10));
}
