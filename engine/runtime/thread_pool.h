// A small pool of threads that runs the tasks of one parallel loop at a time.
#ifndef LIGHTCAP_ENGINE_RUNTIME_THREAD_POOL_H_
#define LIGHTCAP_ENGINE_RUNTIME_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace lightcap {

// Runs task(argument, i) for every i in [0, count), in any order and on any thread, and returns
// when all are done. A host application may hand in its own (lightcap_executor in lightcap.h).
struct Executor {
  using Task = void (*)(void* argument, size_t index);
  void* context = nullptr;
  void (*parallel_for)(void* context, size_t count, Task task, void* argument) = nullptr;
};

// The caller of parallel_for works too, so a pool of n threads starts n - 1. Tasks are handed out
// one by one through an atomic word; which thread runs a task is chance, so a task's result must
// depend on its index alone: then results are bit-identical for any number of threads. Tasks must
// not throw and must not call parallel_for. One thread at a time may call parallel_for.
class ThreadPool {
 public:
  // `threads` >= 1. Throws std::system_error where a thread can't be started.
  explicit ThreadPool(int threads);
  // Uses the host's executor; `threads` is only what threads() answers.
  ThreadPool(Executor executor, int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls f(i) for every i in [0, count), count < 2^24.
  template <class F>
  void parallel_for(size_t count, F&& f) {
    using Body = std::remove_reference_t<F>;
    run(
        count, [](void* argument, size_t index) { (*static_cast<Body*>(argument))(index); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  void run(size_t count, Executor::Task task, void* argument);
  void work();
  bool run_one_task();

  const int threads_;
  Executor executor_;
  // The loop under way in one word, so that claiming a task and knowing that it exists is one step:
  // [epoch: 16][count: 24][next: 24]. task_ and argument_ are stable while a claimed task is not
  // done.
  alignas(64) std::atomic<uint64_t> loop_{0};
  Executor::Task task_ = nullptr;
  void* argument_ = nullptr;
  alignas(64) std::atomic<uint32_t> done_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_RUNTIME_THREAD_POOL_H_
