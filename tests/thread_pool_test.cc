#include "engine/runtime/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace lightcap::internal {
namespace {

TEST(ThreadPool, RunsEveryTaskOnceForAnyNumberOfThreads) {
  for (const int threads : {1, 2, 3, 4, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const size_t count :
         {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{100}, size_t{5000}}) {
      std::vector<std::atomic<int>> runs(count);
      pool.parallel_for(count, [&](size_t i) { runs[i].fetch_add(1); });
      for (size_t i = 0; i < count; ++i)
        ASSERT_EQ(runs[i].load(), 1) << "task " << i << " of " << count;
    }
  }
}

// A task's writes are visible after parallel_for, and loops follow each other without mixing.
TEST(ThreadPool, ManyShortLoops) {
  ThreadPool pool(4);
  std::vector<size_t> sums(16);
  for (size_t loop = 0; loop < 20000; ++loop) {
    pool.parallel_for(sums.size(), [&](size_t i) { sums[i] += loop; });
  }
  for (const size_t sum : sums) EXPECT_EQ(sum, 20000u * 19999 / 2);
}

// Workers sleep after a while and must wake up again.
TEST(ThreadPool, WakesUpAfterIdling) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> runs{0};
    pool.parallel_for(64, [&](size_t) { runs.fetch_add(1); });
    EXPECT_EQ(runs.load(), 64);
  }
}

void wait_until(const std::atomic<size_t>& value, size_t wanted) {
  while (value.load() < wanted) std::this_thread::yield();
}

// True if each of two threads began a loop of six tasks with its own half.
bool threads_begin_with_their_shares(ThreadPool& pool) {
  std::vector<std::thread::id> ran(6);
  std::atomic<size_t> begun{0};
  pool.parallel_for(ran.size(), [&](size_t i) {
    ran[i] = std::this_thread::get_id();
    begun.fetch_add(1);
    wait_until(begun, 2);  // one thread cannot run both shares' first tasks
  });
  return ran[0] == std::this_thread::get_id() && ran[3] != ran[0];
}

TEST(ThreadPool, ThreadsBeginWithSharesOfTheirOwn) {
  ThreadPool pool(2);
  ASSERT_EQ(pool.threads(), 2);
  EXPECT_TRUE(threads_begin_with_their_shares(pool));
}

// A worker that looks out for the next loop meets its share there before it meets the caller's. One
// that still looks for tasks of the last loop may do otherwise, which is seldom.
TEST(ThreadPool, SharesAreKeptInLoopsThatFollowEachOther) {
  ThreadPool pool(2);
  ASSERT_EQ(pool.threads(), 2);
  int kept = 0;
  for (int loop = 0; loop < 500; ++loop) kept += threads_begin_with_their_shares(pool);
  EXPECT_GE(kept, 490);
}

TEST(ThreadPool, AThreadThatIsThroughTakesTheOthersTasks) {
  ThreadPool pool(2);
  ASSERT_EQ(pool.threads(), 2);
  std::vector<std::thread::id> ran(6);
  std::atomic<size_t> done{0};
  pool.parallel_for(ran.size(), [&](size_t i) {
    ran[i] = std::this_thread::get_id();
    if (i == 0) wait_until(done, 5);  // the caller's first task takes as long as all others
    done.fetch_add(1);
  });
  EXPECT_EQ(ran[0], std::this_thread::get_id());
  for (size_t i = 1; i < ran.size(); ++i) EXPECT_EQ(ran[i], ran[1]);
  EXPECT_NE(ran[1], ran[0]);
}

// Threads may be more than tasks, whose shares are then empty.
TEST(ThreadPool, ManyLoopsOfFewTasks) {
  ThreadPool pool(3);
  std::atomic<size_t> runs{0};
  for (size_t loop = 0; loop < 70000; ++loop)
    pool.parallel_for(2, [&](size_t) { runs.fetch_add(1, std::memory_order_relaxed); });
  EXPECT_EQ(runs.load(), 140000u);
}

TEST(ThreadPool, SleepingWorkersUseNoProcessorTime) {
  ThreadPool pool(2);
  pool.parallel_for(2, [](size_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double busy = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(busy, 0.1);  // a spinning worker would burn 0.2
}

TEST(ThreadPool, UsesTheHostsExecutor) {
  struct Host {
    size_t loops = 0;
    static void parallel_for(void* context, size_t count, Executor::Task task, void* argument) {
      ++static_cast<Host*>(context)->loops;
      for (size_t i = count; i-- > 0;) task(argument, i);  // any order is allowed
    }
  } host;
  ThreadPool pool(Executor{&host, Host::parallel_for}, 5);
  EXPECT_EQ(pool.threads(), 5);
  std::vector<int> runs(40);
  pool.parallel_for(runs.size(), [&](size_t i) { ++runs[i]; });
  EXPECT_EQ(host.loops, 1u);
  EXPECT_EQ(runs, std::vector<int>(40, 1));
}

}  // namespace
}  // namespace lightcap::internal
