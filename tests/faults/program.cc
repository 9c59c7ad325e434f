// Makes a program of ours fail an allocation: the one whose number stands in the environment's
// LIGHTCAP_FAIL_ALLOCATION, counted from the beginning of main(). Linked to its main.cc.
#include <unistd.h>

#include <cstdlib>

#include "tests/faults/faults.h"

extern "C" int __real_main(int argc, char** argv);

extern "C" int __wrap_main(int argc, char** argv) {
  const char* number = std::getenv("LIGHTCAP_FAIL_ALLOCATION");
  lightcap::internal::testing::when_allocation_fails([] {
    constexpr char kWords[] = "the allocation failed\n";
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kWords, sizeof kWords - 1);
  });
  const lightcap::internal::testing::AllocationFault fault(
      number == nullptr ? 0 : std::strtoull(number, nullptr, 10));
  return __real_main(argc, argv);
}
