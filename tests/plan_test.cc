// Planning and running apart: what computes while a session plans cannot go unnoticed.
#include <gtest/gtest.h>

#include <stdexcept>

#include "engine/runtime/ops.h"
#include "kernels/dispatch.h"

namespace lightcap::internal {
namespace {

class Plan : public ::testing::Test {
 protected:
  Plan() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  ThreadPool pool_{1};
  Arena arena_;
  const Runtime runtime_ = {.kernels = best_kernels(), .pool = pool_, .arena = arena_};
};
using PlanDeathTest = Plan;

// Stages with a guard forgotten, as the graph's code could have them.
void forgets_serial(const Runtime& runtime) {
  const Matrix x = runtime.arena.matrix(3, 5);
  for (size_t row = 0; row < x.rows; ++row) x.row(row)[0] = 1;
}

void reads_what_was_not_computed(const Runtime& runtime) {
  const Matrix x = runtime.arena.matrix(3, 5);
  runtime.serial([&] { x.row(2)[4] = 1; });
  if (x.row(2)[4] > 0) runtime.arena.floats(100);
}

void bypasses_the_runtime(const Runtime& runtime) {
  const Tensor x = runtime.arena.tensor(8, 8, 16);
  runtime.pool.parallel_for(4, [&](size_t i) { x.data[i] = 1; });
}

void calls_a_kernel(const Runtime& runtime) {
  float* x = runtime.arena.floats(64);
  float best = 0;
  uint32_t at = 0;
  runtime.kernels.top_k({.x = x, .count = 64, .k = 1, .values = &best, .indices = &at});
}

void writes_far_into_a_large_buffer(const Runtime& runtime) {
  constexpr size_t kFloats = size_t{1} << 28;
  float* small = runtime.arena.floats(16);
  float* large = runtime.arena.floats(kFloats);
  small[0] = 0;
  large[kFloats - 1] = 1;
}

TEST_F(PlanDeathTest, EveryForgottenGuardFaultsWhilePlanning) {
  for (const auto stage : {forgets_serial, reads_what_was_not_computed, bypasses_the_runtime,
                           calls_a_kernel, writes_far_into_a_large_buffer}) {
    EXPECT_DEATH(stage(runtime_), "");
  }
}

// A range planned first stays inaccessible when ranges for larger buffers are added.
TEST_F(PlanDeathTest, EveryByteOfEveryBufferIsInaccessible) {
  char* buffers[3];
  const size_t bytes[3] = {100, size_t{40} << 20, size_t{300} << 20};
  for (size_t i = 0; i < 3; ++i) buffers[i] = static_cast<char*>(arena_.bytes(bytes[i]));
  for (size_t i = 0; i < 3; ++i) {
    for (const size_t at : {size_t{0}, bytes[i] / 2, bytes[i] - 1, bytes[i] + 4096})
      EXPECT_DEATH(buffers[i][at] = 1, "") << i << " at " << at;
  }
}

TEST_F(PlanDeathTest, EmptyBuffersAreInaccessibleToo) {
  EXPECT_DEATH(*static_cast<char*>(arena_.bytes(0)) = 1, "");
}

TEST_F(Plan, TasksRunOnlyWhenThePlanIsDone) {
  int serial = 0, parallel = 0;
  const auto stage = [&] {
    const Arena::Scope scope(arena_);
    const Matrix x = arena_.matrix(3, 5);
    runtime_.serial([&] {
      x.row(2)[4] = 1;
      ++serial;
    });
    runtime_.parallel_for(2, [&](size_t) { ++parallel; });
  };
  stage();
  EXPECT_EQ(serial, 0);
  EXPECT_EQ(parallel, 0);
  arena_.allocate();
  stage();
  EXPECT_EQ(serial, 1);
  EXPECT_EQ(parallel, 2);
}

TEST_F(Plan, SerialWorkMayThrow) {
  struct Tasks final : Observer {
    void begin(const LayerWork&) override {}
    void end() override {}
    void task_begin() override { ++under_way; }
    void task_end() override { --under_way; }
    int under_way = 0;
  } tasks;
  const Runtime observed = {
      .kernels = best_kernels(), .pool = pool_, .arena = arena_, .observer = &tasks};
  arena_.allocate();
  EXPECT_THROW(observed.serial([] { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_EQ(tasks.under_way, 0);
}

TEST_F(Plan, StepsCountOnlyWhilePlanning) {
  double steps = 0;
  const Runtime counted = {
      .kernels = best_kernels(), .pool = pool_, .arena = arena_, .planned_steps = &steps};
  counted.plan_steps(3);
  arena_.allocate();
  counted.plan_steps(5);
  EXPECT_EQ(steps, 3);
}

}  // namespace
}  // namespace lightcap::internal
