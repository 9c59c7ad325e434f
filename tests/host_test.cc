// A host and the API: its own threads and callbacks, its rounding mode, its limits.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cerrno>
#include <cfenv>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "api/log_target.h"
#include "tests/api_session.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

std::atomic<int> threads_to_be_had{1 << 20};

}  // namespace

// The library's calls of pthread_create come here (-Wl,--wrap).
extern "C" {
int __real_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                          void* argument) {
  if (threads_to_be_had.fetch_sub(1) <= 0) return EAGAIN;
  return __real_pthread_create(thread, attributes, body, argument);
}
}

namespace lightcap::internal::testing {
namespace {

bool error_has(const std::string& text) {
  return std::string(lightcap_last_error()).find(text) != std::string::npos;
}

class Host : public ::testing::Test {
 protected:
  ~Host() override { lightcap_set_log(nullptr, nullptr); }

  ModelHandle model_ = open_small_model();
};

// ---- Threads that the system refuses ----

struct Notices {
  std::vector<std::string> by_level[2];
  static void note(void* context, int level, const char* message) {
    static_cast<Notices*>(context)->by_level[level].push_back(message);
  }
};

TEST_F(Host, FewerThreadsThanAskedForAreAWarning) {
  usual_outcome();
  for (const int given : {0, 1, 2, 3}) {
    Notices notices;
    lightcap_set_log(Notices::note, &notices);
    threads_to_be_had = given;
    const SessionHandle session = open_session(model_.get(), 4);
    threads_to_be_had = 1 << 20;
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(lightcap_session_threads(session.get()), given + 1);
    EXPECT_EQ(outcome_of(session.get()), usual_outcome());
    ASSERT_EQ(notices.by_level[1].size(), given < 3 ? 1u : 0u);
    if (given < 3) {
      EXPECT_TRUE(notices.by_level[1][0].starts_with("only " + std::to_string(given + 1) +
                                                     " of 4 threads could be started"))
          << notices.by_level[1][0];
    }
  }
}

// ---- Executors ----

// An executor made of a function, as a C++ host would write it.
class FunctionExecutor {
 public:
  using Task = void (*)(void*, size_t);
  using Function = std::function<void(size_t count, Task task, void* argument)>;

  explicit FunctionExecutor(Function function) : function_(std::move(function)) {}
  SessionHandle open(const lightcap_model* model) const { return open_session(model, options()); }
  lightcap_session_options options() const {
    lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
    options.threads = 2;
    options.executor = &executor_;
    return options;
  }

 private:
  Function function_;
  lightcap_executor executor_ = {this, [](void* context, size_t count, Task task, void* argument) {
                                   static_cast<FunctionExecutor*>(context)->function_(count, task,
                                                                                      argument);
                                 }};
};

void run_all(size_t count, FunctionExecutor::Task task, void* argument) {
  for (size_t i = 0; i < count; ++i) task(argument, i);
}

// A session whose executor does `mistake` in some loop, of opening or of the caption: an error that
// says so, and what comes after is right.
void expect_blamed(const lightcap_model* model, const FunctionExecutor::Function& mistake,
                   const std::string& words) {
  for (const int which : {0, 1, 7, 17}) {
    const ModelHandle fresh = which == 0 ? open_small_model() : nullptr;
    int loop = 0;
    const FunctionExecutor executor([&](size_t count, FunctionExecutor::Task task, void* argument) {
      if (loop++ == which) {
        mistake(count, task, argument);
      } else {
        run_all(count, task, argument);
      }
    });
    const lightcap_session_options options = executor.options();
    lightcap_session* opened = nullptr;
    lightcap_status status =
        lightcap_session_open(fresh != nullptr ? fresh.get() : model, &options, &opened);
    SessionHandle session(opened);
    if (session != nullptr) status = outcome_of(session.get()).status;
    EXPECT_EQ(status, LIGHTCAP_ERROR_USAGE) << words;
    EXPECT_TRUE(error_has("executor.parallel_for " + words)) << lightcap_last_error();
    if (session == nullptr) session = executor.open(fresh != nullptr ? fresh.get() : model);
    EXPECT_EQ(outcome_of(session.get()), usual_outcome()) << words;
  }
}

TEST_F(Host, AnExecutorThatThrowsIsNamed) {
  const auto all = run_all;
  expect_blamed(
      model_.get(), [](auto...) { throw std::runtime_error("pool is shut down"); },
      "threw an exception: pool is shut down");
  expect_blamed(
      model_.get(), [](auto...) { throw 42; }, "threw an exception: not a std::exception");
  expect_blamed(
      model_.get(),
      [&](size_t count, FunctionExecutor::Task task, void* argument) {
        all(count / 2, task, argument);
        throw std::bad_alloc();
      },
      "threw an exception: std::bad_alloc");
  expect_blamed(
      model_.get(),
      [&](size_t count, FunctionExecutor::Task task, void* argument) {
        all(count, task, argument);
        throw std::logic_error("late");
      },
      "threw an exception: late");
}

TEST_F(Host, AnExecutorThatForgetsTasksIsNamed) {
  expect_blamed(
      model_.get(), [](auto...) {}, "returned when 0 of ");
  expect_blamed(
      model_.get(),
      [](size_t count, FunctionExecutor::Task task, void* argument) {
        run_all(count - 1, task, argument);
      },
      "returned when ");
}

TEST_F(Host, AnExecutorThatRepeatsTasksIsNamed) {
  expect_blamed(
      model_.get(),
      [](size_t count, FunctionExecutor::Task task, void* argument) {
        run_all(count, task, argument);
        task(argument, 0);
      },
      "called the task 0 more than once");
  expect_blamed(
      model_.get(),
      [](size_t count, FunctionExecutor::Task task, void* argument) {
        // As many calls as tasks, but not the same.
        for (size_t i = 0; i < count; ++i) task(argument, i == 0 ? 1 : i);
      },
      "called the task 1 more than once");
  expect_blamed(
      model_.get(),
      [](size_t count, FunctionExecutor::Task task, void* argument) {
        run_all(count, task, argument);
        task(argument, count);
      },
      "called the task ");
}

TEST_F(Host, ATaskThatIsCalledAfterItsLoopDoesNothing) {
  struct Call {
    FunctionExecutor::Task task;
    void* argument;
    size_t index;
  };
  std::vector<Call> late;
  int loop = 1000;
  const FunctionExecutor executor([&](size_t count, FunctionExecutor::Task task, void* argument) {
    const bool forgets = loop++ == 5;
    for (size_t i = 0; i < count; ++i) {
      if (forgets && i % 2 == 1) {
        late.push_back({task, argument, i});
      } else {
        task(argument, i);
      }
    }
  });
  const SessionHandle session = executor.open(model_.get());
  loop = 0;
  EXPECT_EQ(outcome_of(session.get()).status, LIGHTCAP_ERROR_USAGE);
  ASSERT_FALSE(late.empty());
  for (const Call& call : late) call.task(call.argument, call.index);  // its memory is gone
  // And while later loops are under way, on another thread.
  std::atomic<bool> stop{false};
  std::thread straggler([&] {
    while (!stop) {
      for (const Call& call : late) call.task(call.argument, call.index);
      std::this_thread::yield();
    }
  });
  loop = 1000;
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  EXPECT_EQ(caption_pixels(session.get(), result), LIGHTCAP_OK) << lightcap_last_error();
  EXPECT_EQ(result.caption, usual_outcome().caption);
  stop = true;
  straggler.join();
}

TEST_F(Host, AnExecutorWithThreadsOfItsOwnIsFine) {
  FunctionExecutor executor([](size_t count, FunctionExecutor::Task task, void* argument) {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i; (i = next.fetch_add(1)) < count;) task(argument, i);
    };
    std::thread other(work);
    work();
    other.join();
  });
  const SessionHandle session = executor.open(model_.get());
  EXPECT_EQ(lightcap_session_threads(session.get()), 2);
  EXPECT_EQ(outcome_of(session.get()), usual_outcome());
}

TEST_F(Host, OtherCallbacksThatThrowAreNamedToo) {
  lightcap_set_log([](void*, int, const char*) { throw std::runtime_error("no console"); },
                   nullptr);
  lightcap_session* session = nullptr;
  EXPECT_EQ(lightcap_session_open(model_.get(), nullptr, &session), LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("the log function threw an exception: no console"));
  EXPECT_EQ(session, nullptr);
  lightcap_set_log(nullptr, nullptr);

  const SessionHandle traced = open_session(model_.get(), 2);
  lightcap_session_set_trace(
      traced.get(),
      [](void*, const char*, const float*, const size_t*, size_t) {
        throw std::runtime_error("disk full");
      },
      nullptr);
  EXPECT_EQ(outcome_of(traced.get()).status, LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("the trace function threw an exception: disk full"));
  lightcap_session_set_trace(traced.get(), nullptr, nullptr);
  EXPECT_EQ(outcome_of(traced.get()), usual_outcome());
}

// ---- One caption at a time ----

TEST_F(Host, ASecondCaptionOfTheSameSessionAtTheSameTimeIsRefused) {
  const SessionHandle session = open_session(model_.get(), 1);
  struct Nested {
    lightcap_session* session;
    Outcome inner;
  } nested = {session.get(), {}};
  lightcap_session_set_trace(
      session.get(),
      [](void* context, const char*, const float*, const size_t*, size_t) {
        auto* self = static_cast<Nested*>(context);
        self->inner = outcome_of(self->session);
      },
      &nested);
  EXPECT_EQ(outcome_of(session.get()), usual_outcome());
  EXPECT_EQ(nested.inner.status, LIGHTCAP_ERROR_USAGE);
  EXPECT_TRUE(error_has("captioning already"));
}

// ---- Rounding modes ----

struct FloatSetting {
  const char* name;
  void (*set)();
};

const FloatSetting kFloatSettings[] = {
    {"to nearest", [] { std::fesetround(FE_TONEAREST); }},
    {"upward", [] { std::fesetround(FE_UPWARD); }},
    {"downward", [] { std::fesetround(FE_DOWNWARD); }},
    {"toward zero", [] { std::fesetround(FE_TOWARDZERO); }},
#if defined(__x86_64__)
    {"denormals are zero", [] { _mm_setcsr(_mm_getcsr() | 0x8040); }},
    // Division by zero, overflow and invalid operations trap.
    {"traps", [] { _mm_setcsr(_mm_getcsr() & ~0x0680u); }},
#endif
};

// The part of its environment that a host can see.
std::vector<unsigned> environment() {
  std::vector<unsigned> seen = {static_cast<unsigned>(std::fegetround()),
                                static_cast<unsigned>(std::fetestexcept(FE_ALL_EXCEPT))};
#if defined(__x86_64__)
  seen.push_back(_mm_getcsr());
#endif
  return seen;
}

TEST_F(Host, TheCallersRoundingModeChangesNothingAndStays) {
  const Outcome expected = usual_outcome();
  for (const FloatSetting& setting : kFloatSettings) {
    SCOPED_TRACE(setting.name);
    std::fenv_t before;
    std::fegetenv(&before);
    setting.set();
    const std::vector<unsigned> set = environment();
    lightcap_model* model = nullptr;
    const lightcap_status opened = lightcap_model_open(small_model_path().c_str(), nullptr, &model);
    std::vector<std::vector<unsigned>> seen = {environment()};
    Outcome outcomes[2];
    for (const int threads : {1, 3}) {
      const SessionHandle session = open_session(model, threads);
      seen.push_back(environment());
      lightcap_result result = LIGHTCAP_RESULT_INIT;
      caption_pixels(session.get(), result);
      seen.push_back(environment());
      outcomes[threads / 2] = outcome_of(session.get());
    }
    lightcap_model_close(model);
    std::fesetenv(&before);
    EXPECT_EQ(opened, LIGHTCAP_OK);
    EXPECT_EQ(outcomes[0], expected);
    EXPECT_EQ(outcomes[1], expected);
    // Converting floats for the comparison may set flags, nothing else.
    for (const auto& now : seen) EXPECT_EQ(now, set);
  }
}

TEST_F(Host, TheRoundingModeOfTheHostsThreadsChangesNothing) {
  for (const FloatSetting& setting : kFloatSettings) {
    SCOPED_TRACE(setting.name);
    bool kept = true;
    FunctionExecutor executor([&](size_t count, FunctionExecutor::Task task, void* argument) {
      std::thread other([&] {
        setting.set();
        const std::vector<unsigned> set = environment();
        run_all(count, task, argument);
        kept = kept && environment() == set;
      });
      other.join();
    });
    const SessionHandle session = executor.open(model_.get());
    EXPECT_EQ(outcome_of(session.get()), usual_outcome());
    EXPECT_TRUE(kept);
  }
}

// ---- The log ----

TEST_F(Host, FunctionAndContextOfTheLogChangeTogether) {
  LogTarget target;
  std::atomic<bool> stop{false};
  const auto number = [](uintptr_t i) { return reinterpret_cast<void*>(i); };
  const lightcap_log_function functions[] = {[](void*, int, const char*) {},
                                             [](void*, int level, const char*) { (void)level; }};
  std::vector<std::thread> writers;
  for (uintptr_t i = 0; i < 2; ++i) {
    writers.emplace_back([&, i] {
      while (!stop) target.set({functions[i], number(i + 1)});
    });
  }
  size_t mixed = 0, seen[2] = {};
  for (int i = 0; i < 100000 || ((seen[0] == 0 || seen[1] == 0) && i < 100000000); ++i) {
    const LogTarget::Target now = target.get();
    if (now.function == nullptr) {
      mixed += now.context != nullptr;
      continue;
    }
    const size_t which = now.function == functions[0] ? 0 : 1;
    ++seen[which];
    mixed += now.context != number(which + 1);
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(mixed, 0u);
}

TEST_F(Host, TheLogMayChangeWhileSessionsOpen) {
  std::atomic<bool> stop{false}, wrong{false};
  struct Log {
    int number;
    std::atomic<bool>* wrong;
  } logs[] = {{0, &wrong}, {1, &wrong}};
  const lightcap_log_function functions[] = {[](void* context, int, const char*) {
                                               const Log* log = static_cast<Log*>(context);
                                               if (log->number != 0) *log->wrong = true;
                                             },
                                             [](void* context, int, const char*) {
                                               const Log* log = static_cast<Log*>(context);
                                               if (log->number != 1) *log->wrong = true;
                                             }};
  std::thread changer([&] {
    for (size_t i = 0; !stop; ++i) lightcap_set_log(functions[i % 2], &logs[i % 2]);
  });
  for (int i = 0; i < 20; ++i) open_session(model_.get(), 1);
  stop = true;
  changer.join();
  EXPECT_FALSE(wrong);
}

// ---- The default number of threads ----

TEST_F(Host, DefaultThreadsFollowAffinity) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_GE(lightcap_default_threads(), 1);
  EXPECT_LE(lightcap_default_threads(), std::min(8, CPU_COUNT(&before)));
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(lightcap_default_threads(), 1);
  const SessionHandle session = open_session(model_.get(), 0);
  EXPECT_EQ(lightcap_session_threads(session.get()), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace lightcap::internal::testing
