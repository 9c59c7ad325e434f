#include "cli/batch.h"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "cli/output.h"

namespace lightcap::internal::cli {
namespace {

// Jobs take the next index each; the printer waits for lines in order.
class Queue {
 public:
  explicit Queue(size_t count) : lines_(count) {}

  std::optional<size_t> take() {
    const std::lock_guard lock(mutex_);
    if (next_ == lines_.size()) return std::nullopt;
    return next_++;
  }

  // Nothing more is taken.
  void end() {
    const std::lock_guard lock(mutex_);
    next_ = lines_.size();
  }

  void put(size_t index, Line line) {
    const std::lock_guard lock(mutex_);
    lines_[index] = std::move(line);
    changed_.notify_one();
  }

  void fail(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(failure);
    next_ = lines_.size();
    changed_.notify_one();
  }

  // Throws what a job threw.
  Line wait_for(size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return lines_[index].has_value() || failure_; });
    if (!lines_[index].has_value()) std::rethrow_exception(failure_);
    Line line = std::move(*lines_[index]);
    lines_[index].reset();
    return line;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::optional<Line>> lines_;
  size_t next_ = 0;
  std::exception_ptr failure_;
};

// Ends the jobs and waits for them, whatever way the scope is left.
class Jobs {
 public:
  explicit Jobs(Queue& queue) : queue_(queue) {}
  ~Jobs() {
    queue_.end();  // nothing is left to take, or an exception is on its way
    for (std::thread& thread : threads_) thread.join();
  }
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  // Throws std::system_error where the system has no more threads for us.
  void start(size_t job, const std::function<Line(size_t, size_t)>& work) {
    threads_.emplace_back([this, job, &work] {
      try {
        while (const std::optional<size_t> index = queue_.take())
          queue_.put(*index, work(job, *index));
      } catch (...) {
        queue_.fail(std::current_exception());
      }
    });
  }

 private:
  Queue& queue_;
  std::vector<std::thread> threads_;
};

using Work = std::function<Line(size_t job, size_t index)>;

// How many could be started: limits on processes may allow fewer than were wanted.
size_t start_jobs(Jobs& running, size_t jobs, const Work& work) {
  for (size_t job = 0; job < jobs; ++job) {
    try {
      running.start(job, work);
    } catch (const std::system_error& error) {
      report("captioning " + std::to_string(std::max<size_t>(job, 1)) +
             " pictures at a time, not " + std::to_string(jobs) +
             ": cannot start more threads: " + error.code().message());
      return job;
    }
  }
  return jobs;
}

// Two units, the smaller one as far as it says something.
std::string duration(double seconds) {
  const auto whole = static_cast<uint64_t>(std::min(seconds, 1e9));
  const auto pair = [](uint64_t large, const char* unit, uint64_t small, const char* smaller) {
    char text[64];
    std::snprintf(text, sizeof text, "%llu %s %02llu %s", static_cast<unsigned long long>(large),
                  unit, static_cast<unsigned long long>(small), smaller);
    return std::string(text);
  };
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return pair(whole / 60, "min", whole % 60, "s");
  if (whole < 86400) return pair(whole / 3600, "h", whole / 60 % 60, "min");
  return pair(whole / 86400, "d", whole / 3600 % 24, "h");
}

void run_one_by_one(size_t count, const Work& work, const std::function<void(const Line&)>& print) {
  for (size_t i = 0; i < count; ++i) print(work(0, i));
}

}  // namespace

void run_in_order(size_t count, size_t jobs,
                  const std::function<Line(size_t job, size_t index)>& work,
                  const std::function<void(const Line&)>& print) {
  if (jobs <= 1) return run_one_by_one(count, work, print);
  Queue queue(count);
  Jobs running(queue);
  if (start_jobs(running, jobs, work) == 0) return run_one_by_one(count, work, print);
  for (size_t i = 0; i < count; ++i) print(queue.wait_for(i));
}

std::string ProgressBar::text(size_t done, size_t count, double seconds) {
  constexpr size_t kWidth = 20;
  const size_t filled = done * kWidth / count;
  std::string shown = "[";
  shown.append(filled, '#').append(kWidth - filled, '.').append("] ");
  shown.append(std::to_string(done)).append("/").append(std::to_string(count)).append(" pictures");
  // The first ones take longer, and say nothing of the others.
  if (done == 0 || seconds < 1) return shown;
  const double rate = static_cast<double>(done) / seconds;
  char rest[64];
  std::snprintf(rest, sizeof rest, rate < 10 ? ", %.1f/s, " : ", %.0f/s, ", rate);
  return shown.append(rest).append(duration(static_cast<double>(count - done) / rate) + " left");
}

void ProgressBar::show(size_t done) {
  if (count_ <= 1) return;
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
  std::string line = text(done, count_, passed.count());
  widest_ = std::max(widest_, line.size());
  line.resize(widest_, ' ');  // covers what was longer
  line_.show(line.c_str());
}

}  // namespace lightcap::internal::cli
