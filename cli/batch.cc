#include "cli/batch.h"

#include <algorithm>
#include <condition_variable>
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

void ProgressBar::show(size_t done) {
  if (count_ <= 1) return;
  constexpr size_t kWidth = 40;
  const size_t filled = done * kWidth / count_;
  std::string text = "[";
  text.append(filled, '#').append(kWidth - filled, '.').append("] ");
  text.append(std::to_string(done)).append("/").append(std::to_string(count_)).append(" pictures");
  line_.show(text.c_str());
}

}  // namespace lightcap::internal::cli
