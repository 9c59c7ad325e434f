// A host that opens and closes sessions for weeks: nothing of them stays.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/api_session.h"

namespace lightcap::internal::testing {
namespace {

size_t resident_bytes() {
  size_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

size_t entries(const char* folder) {
  const std::filesystem::directory_iterator begin(folder);
  return static_cast<size_t>(std::distance(begin, std::filesystem::directory_iterator()));
}

// Models too: a tenth of the sessions has one of its own. A hundredth captions.
void use_session(const ModelHandle& shared, size_t i) {
  const ModelHandle own = i % 10 == 0 ? open_small_model() : nullptr;
  const lightcap_model* model = own != nullptr ? own.get() : shared.get();
  const SessionHandle session = open_session(model, i % 5 == 0 ? 2 : 1);
  if (i % 100 == 0) {
    EXPECT_EQ(outcome_of(session.get()), usual_outcome());
  }
}

TEST(ManySessions, TenThousandLeaveNothingBehind) {
  const ModelHandle model = open_small_model();
  const SessionHandle first = open_session(model.get(), 2);  // keeps what sessions share
  usual_outcome();
  constexpr size_t kSessions = 10000, kWarm = 500;
  for (size_t i = 0; i < kWarm; ++i) use_session(model, i);
  const size_t bytes = resident_bytes();
  const size_t files = entries("/proc/self/fd"), threads = entries("/proc/self/task");
  for (size_t i = kWarm; i < kSessions; ++i) use_session(model, i);
  EXPECT_EQ(entries("/proc/self/fd"), files);
  EXPECT_EQ(entries("/proc/self/task"), threads);
  // Less than a session takes: a leak of 30 bytes a session would show.
  const size_t now = resident_bytes();
  EXPECT_LT(now, bytes + (size_t{256} << 10)) << "from " << bytes << " to " << now;
}

}  // namespace
}  // namespace lightcap::internal::testing
