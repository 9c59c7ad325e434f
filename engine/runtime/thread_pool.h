// A small pool of threads that runs the tasks of one parallel loop at a time.
#ifndef LIGHTCAP_ENGINE_RUNTIME_THREAD_POOL_H_
#define LIGHTCAP_ENGINE_RUNTIME_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "engine/platform/platform.h"
#include "engine/runtime/host_executor.h"

namespace lightcap::internal {

// More threads than this are refused as a mistake.
inline constexpr int kMaxThreads = 1024;

// The caller of parallel_for works too, so a pool of n threads starts n - 1. Each thread has a
// share of a loop's tasks, neighbours in order, and takes others' once it is through with them:
// loops that are cut alike, as layers over the same pixels are, then mostly find what they read in
// the cache of the core that wrote it. It is chance still which thread runs a task, so a task's
// result must depend on its index alone: then results are bit-identical for any number of threads.
// Tasks must not throw and must not call parallel_for. One thread at a time may call parallel_for.
// Workers run tasks in the default floating-point environment; the caller of parallel_for sees to
// its own.
//
// A forked child has the pool but not its workers: there the destructor waits for nobody, and
// after_fork() starts new ones.
class ThreadPool {
 public:
  // `threads` >= 1. Where the system refuses to start so many, there are fewer.
  explicit ThreadPool(int threads);
  // Uses the host's executor; `threads` is only what threads() and most_threads() answer.
  // parallel_for throws
  // Error(kUsage) where the executor does not keep its contract.
  ThreadPool(Executor executor, int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The caller of parallel_for and the workers that there are.
  int threads() const { return threads_; }
  // The most that there can be, now or after a fork.
  size_t most_threads() const { return static_cast<size_t>(wanted_); }
  // Why there are fewer threads than asked for, as errno has it; else 0.
  int start_error() const { return start_error_; }

  // Starts the workers again if this process was forked from the one that started them. Call it
  // before the first loop that may run in another process, when no loop was under way in the fork.
  void after_fork();

  // Calls f(i) for every i in [0, count), count < 2^31.
  template <class F>
  void parallel_for(size_t count, F&& f) {
    using Body = std::remove_reference_t<F>;
    run(
        count, [](void* argument, size_t index) { (*static_cast<Body*>(argument))(index); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  // One thread's tasks in one word, [end: 32][next: 32], so that claiming one and knowing that it
  // exists is one step.
  struct alignas(64) Share {
    std::atomic<uint64_t> word{0};
  };

  void run(size_t count, Executor::Task task, void* argument);
  void start();
  void work(size_t self);
  bool run_one_task(size_t self);
  bool run_one_of(Share& share);
  uint32_t wait_for_loop(uint32_t seen) const;

  const int wanted_;
  int threads_;
  int start_error_ = 0;
  uint64_t home_ = 0;  // this_process() of the workers
  std::unique_ptr<HostExecutor> host_;
  std::unique_ptr<Share[]> shares_;  // [wanted_], the caller's first
  // task_, argument_ and count_ are stable while a claimed task is not done.
  Executor::Task task_ = nullptr;
  void* argument_ = nullptr;
  size_t count_ = 0;
  alignas(64) std::atomic<uint32_t> done_{0};
  alignas(64) std::atomic<uint32_t> loops_{0};  // begun so far: what workers wait for
  std::atomic<bool> stop_{false};
  std::atomic<size_t> started_{0};  // workers that have taken their number
  std::vector<platform::Thread> workers_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_THREAD_POOL_H_
