// Parallel loops on the host's threads, through a function that may not keep its promises.
#ifndef LIGHTCAP_ENGINE_RUNTIME_HOST_EXECUTOR_H_
#define LIGHTCAP_ENGINE_RUNTIME_HOST_EXECUTOR_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

#include "engine/runtime/error.h"

namespace lightcap::internal {

// Runs task(argument, i) for every i in [0, count), in any order and on any thread, and returns
// when all are done. A host application may hand in its own (lightcap_executor in lightcap.h).
struct Executor {
  using Task = void (*)(void* argument, size_t index);
  void* context = nullptr;
  void (*parallel_for)(void* context, size_t count, Task task, void* argument) = nullptr;
};

// Calls a function of the host's. An exception from there is the host's mistake, not ours.
template <class F>
void call_host(const char* function, F&& call) {
  const auto blame = [&](const std::string& what) {
    throw Error(ErrorCode::kUsage, std::string(function) + " threw an exception: " + what);
  };
  try {
    call();
  } catch (const std::exception& error) {
    blame(error.what());
  } catch (...) {
    blame("not a std::exception");
  }
}

// Checks what the executor does with each loop. A task that is called again does not run again, and
// one that is called after its loop has ended does not run at all, as long as fewer than kTokens
// loops came in between: its memory may be gone.
class HostExecutor {
 public:
  explicit HostExecutor(Executor executor);
  HostExecutor(const HostExecutor&) = delete;
  HostExecutor& operator=(const HostExecutor&) = delete;

  // Throws Error(kUsage) that says what the executor did wrong; no task runs any more then.
  void run(size_t count, Executor::Task task, void* argument);

 private:
  static constexpr size_t kTokens = 256;
  static constexpr size_t kMaxTasks = size_t{1} << 16;  // longer loops are cut
  // The executor's `argument`: which loop a call belongs to.
  struct Token {
    HostExecutor* owner;
    uint64_t loop;  // modulo kTokens
  };

  void run_slice(size_t count);
  void check(size_t count) const;
  static void called(void* token, size_t index);
  void run_task(size_t index);

  const Executor executor_;
  std::array<Token, kTokens> tokens_;
  // [loop: 31][open: 1][calls inside: 32] in one word, so that a call knows in one step whether its
  // loop is still under way, and the loop does not end while it is.
  std::atomic<uint64_t> gate_{0};
  // Stable while the gate is open.
  Executor::Task task_ = nullptr;
  void* argument_ = nullptr;
  size_t first_ = 0, count_ = 0;
  std::array<std::atomic<uint64_t>, kMaxTasks / 64> claimed_;  // a bit for each task
  std::atomic<size_t> done_{0};
  // Mistakes: an index, or kNone.
  static constexpr size_t kNone = SIZE_MAX;
  std::atomic<size_t> repeated_{kNone}, outside_{kNone};
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_HOST_EXECUTOR_H_
