// Faults on demand. A test program made by lightcap_fault_test()
// (tests/CMakeLists.txt) can make any one allocation, or any one call of the system's functions for
// files, fail.
#ifndef LIGHTCAP_TESTS_FAULTS_FAULTS_H_
#define LIGHTCAP_TESTS_FAULTS_FAULTS_H_

#include <cstddef>
#include <string>

namespace lightcap::internal::testing {

// ---- Memory: operator new of the whole program, malloc and its like of the project's code ----

// While one lives, the allocation number `nth` of all threads fails, counted from 1; 0: none.
class AllocationFault {
 public:
  explicit AllocationFault(size_t nth);
  ~AllocationFault();
  AllocationFault(const AllocationFault&) = delete;
  AllocationFault& operator=(const AllocationFault&) = delete;

  // Allocations since it was made.
  size_t count() const;
};

// Calls `action`, which must not allocate, when an allocation is made to fail.
void when_allocation_fails(void (*action)());

// Blocks of memory that were allocated and not freed.
long live_blocks();

// ---- Files: read, write and so on of the project's code ----

enum class IoFault {
  kNone,
  kEio,
  kNoSpace,
  kInterrupted,  // EINTR, where the call may say that
  kShort,        // reads and writes move one byte; others don't fail
};

// While one lives, the call number `nth` of all threads fails, counted from 1; kNone: none does.
class IoFaultAt {
 public:
  IoFaultAt(IoFault fault, size_t nth);
  ~IoFaultAt();
  IoFaultAt(const IoFaultAt&) = delete;
  IoFaultAt& operator=(const IoFaultAt&) = delete;

  size_t count() const;
  // The name of the function that failed; empty if none did.
  std::string failed() const;
};

// Called once, after the next open() of the project's code has opened `path`.
void after_opening(const std::string& path, void (*action)(const std::string& path));

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_FAULTS_FAULTS_H_
