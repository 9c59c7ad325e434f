#include "engine/runtime/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <thread>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

#include "engine/runtime/float_environment.h"
#include "engine/runtime/process.h"

namespace lightcap::internal {
namespace {

constexpr int kFieldBits = 32;

uint64_t next_of(uint64_t share) { return static_cast<uint32_t>(share); }
uint64_t end_of(uint64_t share) { return share >> kFieldBits; }
bool is_empty(uint64_t share) { return next_of(share) >= end_of(share); }

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

ThreadPool::ThreadPool(int threads)
    : wanted_(threads), threads_(threads), shares_(new Share[static_cast<size_t>(threads)]) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  start();
}

ThreadPool::ThreadPool(Executor executor, int threads)
    : wanted_(threads), threads_(threads), host_(std::make_unique<HostExecutor>(executor)) {}

ThreadPool::~ThreadPool() {
  if (workers_.empty() || home_ != this_process()) return;
  stop_.store(true);
  loops_.fetch_add(1);
  loops_.notify_all();
  for (const platform::Thread& worker : workers_) worker.join();
}

void ThreadPool::start() {
  home_ = this_process();
  start_error_ = 0;
  started_ = 0;
  const auto body = [](void* argument) -> void* {
    const auto pool = static_cast<ThreadPool*>(argument);
    pool->work(pool->started_.fetch_add(1) + 1);
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
  count_ = count;
  done_.store(0, std::memory_order_relaxed);
  const auto threads = static_cast<size_t>(threads_);
  for (size_t i = 0; i < threads; ++i) {
    const uint64_t begin = count * i / threads, end = count * (i + 1) / threads;
    shares_[i].word.store((end << kFieldBits) | begin);
  }
  loops_.fetch_add(1);
  loops_.notify_all();
  while (run_one_task(0)) {
  }
  for (Patience patience;;) {
    const uint32_t done = done_.load(std::memory_order_acquire);
    if (done == count) return;
    if (!patience.rest()) done_.wait(done, std::memory_order_acquire);
  }
}

// Claims and runs one task, of this thread's share if there is one left; false if there is none at
// all.
bool ThreadPool::run_one_task(size_t self) {
  const size_t threads = most_threads();
  for (size_t i = 0; i < threads; ++i) {
    if (run_one_of(shares_[(self + i) % threads])) return true;
  }
  return false;
}

// A worker that comes late may claim a task of a newer loop than the one that it saw: that is fine,
// since the word that it claimed from is the newer loop's.
bool ThreadPool::run_one_of(Share& share) {
  if (is_empty(share.word.load(std::memory_order_relaxed))) return false;
  const uint64_t claimed = share.word.fetch_add(1);
  if (is_empty(claimed)) return false;
  const size_t count = count_;
  task_(argument_, next_of(claimed));
  if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) done_.notify_one();
  return true;
}

// Workers that wait look at loops_ alone: its change publishes all shares at once, so that each
// thread finds its own there, and the caller writes them without cores that look on.
uint32_t ThreadPool::wait_for_loop(uint32_t seen) const {
  for (Patience patience;;) {
    const uint32_t begun = loops_.load();
    if (begun != seen) return begun;
    if (!patience.rest()) loops_.wait(seen);
  }
}

void ThreadPool::work(size_t self) {
  const DefaultFloatEnvironment environment;
  for (uint32_t seen = 0; !stop_.load();) {
    seen = wait_for_loop(seen);
    while (run_one_task(self)) {
    }
  }
}

}  // namespace lightcap::internal
