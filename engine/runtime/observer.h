// The profiler's hook: an observer is told of every layer and task that the graph runs. Without
// one, a layer and a task cost one branch each.
#ifndef LIGHTCAP_ENGINE_RUNTIME_OBSERVER_H_
#define LIGHTCAP_ENGINE_RUNTIME_OBSERVER_H_

#include <cstddef>
#include <string_view>

namespace lightcap::internal {

// One layer's work, as a profile reports it. The views live until the layer ends. A product of
// matrices has its rows in `height`, width 1, kernel 1 and stride 1.
struct LayerWork {
  std::string_view name;         // the checkpoint's module; empty for layers without weights
  std::string_view kernel;       // what computes it
  size_t height = 0, width = 1;  // of the output
  size_t channels = 0;           // of the input
  size_t kernel_size = 1, stride = 1;
  size_t out = 0;
  double macs = 0;   // multiply-adds that it does: of Winograd's filtering, those of its products
  double bytes = 0;  // of inputs, weights and outputs, each once
  // Products of bytes that a multiply-add takes: 1 for activations of a byte, 2 for 16-bit rows, 0
  // where it is one of fp32.
  int integer_passes = 0;
};

// Must outlive the sessions that it observes, and must not throw.
class Observer {
 public:
  // Around each layer, on the thread that runs the graph; layers don't nest.
  virtual void begin(const LayerWork& work) = 0;
  virtual void end() = 0;
  // Around each of its tasks, on the thread that runs the task.
  virtual void task_begin() = 0;
  virtual void task_end() = 0;

 protected:
  ~Observer() = default;
};

// Reports a task for as long as this lives.
class ObservedTask {
 public:
  explicit ObservedTask(Observer& observer) : observer_(observer) { observer_.task_begin(); }
  ~ObservedTask() { observer_.task_end(); }
  ObservedTask(const ObservedTask&) = delete;
  ObservedTask& operator=(const ObservedTask&) = delete;

 private:
  Observer& observer_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_OBSERVER_H_
