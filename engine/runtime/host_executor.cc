#include "engine/runtime/host_executor.h"

#include <algorithm>
#include <thread>

#include "engine/runtime/float_environment.h"

namespace lightcap::internal {
namespace {

constexpr uint64_t kOpen = uint64_t{1} << 32;
constexpr uint64_t kNextLoop = uint64_t{1} << 33;

uint64_t loop_of(uint64_t gate) { return gate / kNextLoop; }
bool is_open(uint64_t gate) { return (gate & kOpen) != 0; }
uint64_t calls_inside(uint64_t gate) { return gate & (kOpen - 1); }

}  // namespace

HostExecutor::HostExecutor(Executor executor) : executor_(executor) {
  for (size_t i = 0; i < kTokens; ++i) tokens_[i] = {this, i};
}

void HostExecutor::run(size_t count, Executor::Task task, void* argument) {
  task_ = task;
  argument_ = argument;
  for (first_ = 0; first_ < count; first_ += kMaxTasks) {
    run_slice(std::min(kMaxTasks, count - first_));
  }
}

void HostExecutor::run_slice(size_t count) {
  count_ = count;
  done_.store(0, std::memory_order_relaxed);
  repeated_.store(kNone, std::memory_order_relaxed);
  outside_.store(kNone, std::memory_order_relaxed);
  for (size_t i = 0; i <= (count - 1) / 64; ++i) claimed_[i].store(0, std::memory_order_relaxed);
  // Added, not stored: calls that come too late count themselves in and out at any time.
  const uint64_t gate = gate_.fetch_add(kNextLoop + kOpen) + kNextLoop;

  struct Close {
    std::atomic<uint64_t>& gate;
    ~Close() {
      gate.fetch_sub(kOpen);
      // The tasks' memory is about to go: those that the executor left running must end first.
      while (calls_inside(gate.load()) != 0) std::this_thread::yield();
    }
  };
  {
    const Close close = {gate_};
    call_host("executor.parallel_for", [&] {
      executor_.parallel_for(executor_.context, count, called, &tokens_[loop_of(gate) % kTokens]);
    });
  }
  check(count);
}

void HostExecutor::check(size_t count) const {
  const auto blame = [](const std::string& what) {
    throw Error(ErrorCode::kUsage, "executor.parallel_for " + what);
  };
  if (const size_t index = outside_.load(); index != kNone) {
    blame("called the task " + std::to_string(index) + ", expected are 0 to " +
          std::to_string(count - 1));
  }
  if (const size_t index = repeated_.load(); index != kNone) {
    blame("called the task " + std::to_string(index) + " more than once");
  }
  if (const size_t done = done_.load(); done != count) {
    blame("returned when " + std::to_string(done) + " of " + std::to_string(count) +
          " tasks were done");
  }
}

void HostExecutor::called(void* argument, size_t index) {
  const Token& token = *static_cast<Token*>(argument);
  HostExecutor& host = *token.owner;
  const uint64_t gate = host.gate_.fetch_add(1);
  if (is_open(gate) && loop_of(gate) % kTokens == token.loop) host.run_task(index);
  host.gate_.fetch_sub(1);
}

void HostExecutor::run_task(size_t index) {
  if (index >= count_) {
    outside_.store(index);
    return;
  }
  const uint64_t bit = uint64_t{1} << index % 64;
  if ((claimed_[index / 64].fetch_or(bit) & bit) != 0) {
    repeated_.store(index);
    return;
  }
  {
    const DefaultFloatEnvironment environment;
    task_(argument_, first_ + index);
  }
  done_.fetch_add(1);
}

}  // namespace lightcap::internal
