#include "engine/runtime/process.h"

#include <atomic>

#include "engine/platform/platform.h"

namespace lightcap::internal {
namespace {

std::atomic<uint32_t> forks{0};
std::mutex mutex;

// Registered when the program or library is loaded, so that no lock of a lazy initialisation can be
// held at the moment of a fork.
[[maybe_unused]] const int registered =
    platform::on_fork([] { mutex.lock(); }, [] { mutex.unlock(); },
                      [] {
                        forks.fetch_add(1, std::memory_order_relaxed);
                        mutex.unlock();
                      });

}  // namespace

// Both are needed: a process ID can come again in another PID namespace, and a bare clone() runs no
// fork handlers.
uint64_t this_process() {
  return uint64_t{forks.load(std::memory_order_relaxed)} << 32 | platform::process_id();
}

std::mutex& fork_safe_mutex() { return mutex; }

}  // namespace lightcap::internal
