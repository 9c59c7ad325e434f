#include "engine/runtime/thread_pool.h"

#include <chrono>
#include <thread>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#include "engine/runtime/float_environment.h"
#include "engine/runtime/process.h"

namespace lightcap::internal {
namespace {

constexpr int kFieldBits = 24;
constexpr uint64_t kFieldMask = (uint64_t{1} << kFieldBits) - 1;

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

// How long a thread looks out for what it waits for, the next loop or the last task of this one,
// before it goes to sleep. To be woken takes tens of microseconds, on a virtual machine more, and
// there are hundreds of loops in a caption. So it waits longer than serial parts and tasks take,
// but not so long that an idle session would burn a battery; and after 1000 pauses, 20 to 50 us, it
// gives way to other threads, which may have no core of their own.
class Patience {
 public:
  // A moment's rest; false when it is time to sleep.
  bool rest() {
    if (rests_ < kPauses) {
      pause();
    } else {
      const Clock::time_point now = Clock::now();
      if (rests_ == kPauses) sleep_at_ = now + kYielding;
      if (now > sleep_at_) return false;
      std::this_thread::yield();
    }
    ++rests_;
    return true;
  }
  void renew() { rests_ = 0; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kPauses = 1000;
  static constexpr std::chrono::microseconds kYielding{300};
  int rests_ = 0;
  Clock::time_point sleep_at_;
};

}  // namespace

ThreadPool::ThreadPool(int threads) : wanted_(threads), threads_(threads) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  start();
}

ThreadPool::ThreadPool(Executor executor, int threads)
    : wanted_(threads), threads_(threads), host_(std::make_unique<HostExecutor>(executor)) {}

ThreadPool::~ThreadPool() {
  if (workers_.empty() || home_ != this_process()) return;
  stop_.store(true);
  loop_.fetch_add(uint64_t{1} << (2 * kFieldBits));  // a new epoch wakes the sleepers
  loop_.notify_all();
  for (const platform::Thread& worker : workers_) worker.join();
}

void ThreadPool::start() {
  home_ = this_process();
  start_error_ = 0;
  const auto body = [](void* pool) -> void* {
    static_cast<ThreadPool*>(pool)->work();
    return nullptr;
  };
  for (int i = 1; i < wanted_ && start_error_ == 0; ++i) {
    platform::Thread worker;
    start_error_ = worker.start(body, this);
    if (start_error_ == 0) workers_.push_back(worker);
  }
  threads_ = static_cast<int>(workers_.size()) + 1;
}

void ThreadPool::after_fork() {
  if (host_ != nullptr || home_ == this_process()) return;
  workers_.clear();
  start();
}

void ThreadPool::run(size_t count, Executor::Task task, void* argument) {
  if (host_ != nullptr && count > 1) {
    host_->run(count, task, argument);
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
  for (Patience patience;;) {
    const uint32_t done = done_.load(std::memory_order_acquire);
    if (done == count) return;
    if (!patience.rest()) done_.wait(done, std::memory_order_acquire);
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
  const DefaultFloatEnvironment environment;
  while (!stop_.load()) {
    Patience patience;
    do {
      if (run_one_task()) patience.renew();
    } while (patience.rest());
    const uint64_t seen = loop_.load();
    if (!has_tasks(seen) && !stop_.load()) loop_.wait(seen);
  }
}

}  // namespace lightcap::internal
