// Captions on threads that the host has already: thread_pool MODEL.lcw PICTURE
//
// A session whose options name an executor starts no threads. The executor calls a task once for
// each index, on any threads and in any order, and returns when all are done; the caption is the
// same to the last bit.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <lightcap.hpp>
#include <mutex>
#include <thread>
#include <vector>

// A small pool: the caller and the workers take the next index until there is none.
class Pool {
 public:
  explicit Pool(int workers) {
    for (int i = 0; i < workers; ++i) workers_.emplace_back([this] { work(); });
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    begin_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  using Task = void (*)(void* argument, size_t index);

  void parallel_for(size_t count, Task task, void* argument) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      count_ = count;
      task_ = task;
      argument_ = argument;
      next_ = 0;
      busy_ = workers_.size();
      ++loop_;
    }
    begin_.notify_all();
    run();
    // Workers that took the last indices may not be done with them.
    std::unique_lock<std::mutex> lock(mutex_);
    end_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void run() {
    for (size_t i = next_++; i < count_; i = next_++) task_(argument_, i);
  }

  void work() {
    size_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      begin_.wait(lock, [&] { return ending_ || loop_ != seen; });
      if (ending_) return;
      seen = loop_;
      lock.unlock();
      run();
      lock.lock();
      if (--busy_ == 0) end_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable begin_, end_;
  std::vector<std::thread> workers_;
  std::atomic<size_t> next_{0};
  size_t count_ = 0, busy_ = 0, loop_ = 0;
  Task task_ = nullptr;
  void* argument_ = nullptr;
  bool ending_ = false;
};

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL.lcw PICTURE\n", argv[0]);
    return LIGHTCAP_ERROR_USAGE;
  }
  try {
    Pool pool(2);
    lightcap_executor executor;
    executor.context = &pool;
    executor.parallel_for = [](void* context, size_t count, Pool::Task task, void* argument) {
      static_cast<Pool*>(context)->parallel_for(count, task, argument);
    };
    lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
    options.executor = &executor;
    options.threads = 2;
    const lightcap::Model model(argv[1]);
    lightcap::Session session(model, &options);
    std::printf("%s\n", session.caption_file(argv[2]).caption);
    return 0;
  } catch (const lightcap::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.status();
  }
}
