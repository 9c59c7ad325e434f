#include "engine/thread_pool.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace lightcap {
namespace {

constexpr int kFieldBits = 24;
constexpr uint64_t kFieldMask = (uint64_t{1} << kFieldBits) - 1;

// About 50 us on current cores: longer than the serial gaps between the loops of one caption, short
// enough that an idle session does not burn battery.
constexpr int kSpins = 1000;

uint64_t next_of(uint64_t loop) { return loop & kFieldMask; }
uint64_t count_of(uint64_t loop) { return (loop >> kFieldBits) & kFieldMask; }
bool has_tasks(uint64_t loop) { return next_of(loop) < count_of(loop); }

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  } catch (...) {
    // The destructor does not run for a half-built pool: end the threads that did start.
    stop_.store(true);
    loop_.fetch_add(uint64_t{1} << (2 * kFieldBits));
    loop_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    throw;
  }
}

ThreadPool::ThreadPool(Executor executor, int threads) : threads_(threads), executor_(executor) {}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  loop_.fetch_add(uint64_t{1} << (2 * kFieldBits));  // a new epoch wakes the sleepers
  loop_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(size_t count, Executor::Task task, void* argument) {
  if (executor_.parallel_for != nullptr && count > 1) {
    executor_.parallel_for(executor_.context, count, task, argument);
    return;
  }
  if (workers_.empty() || count <= 1) {
    for (size_t i = 0; i < count; ++i) task(argument, i);
    return;
  }
  task_ = task;
  argument_ = argument;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t epoch = (loop_.load(std::memory_order_relaxed) >> (2 * kFieldBits)) + 1;
  loop_.store((epoch << (2 * kFieldBits)) | (uint64_t{count} << kFieldBits));
  loop_.notify_all();
  while (run_one_task()) {
  }
  for (int spin = 0;; ++spin) {
    const uint32_t done = done_.load(std::memory_order_acquire);
    if (done == count) return;
    if (spin < kSpins) {
      pause();
    } else {
      done_.wait(done, std::memory_order_acquire);
    }
  }
}

// Claims and runs one task; false if none is left. A worker that comes late may claim a task of a
// newer loop than the one it woke for: that is fine, since the word it claimed from is the newer
// loop's.
bool ThreadPool::run_one_task() {
  if (!has_tasks(loop_.load(std::memory_order_relaxed))) return false;
  const uint64_t claimed = loop_.fetch_add(1);
  if (!has_tasks(claimed)) return false;
  task_(argument_, next_of(claimed));
  if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_of(claimed)) done_.notify_one();
  return true;
}

void ThreadPool::work() {
  while (!stop_.load()) {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (run_one_task()) spin = 0;
      pause();
    }
    const uint64_t seen = loop_.load();
    if (!has_tasks(seen) && !stop_.load()) loop_.wait(seen);
  }
}

}  // namespace lightcap
