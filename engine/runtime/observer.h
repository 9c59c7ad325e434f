// Who wants to know what the graph computes, layer by layer: a profile. Without one, a layer costs
// one branch.
#ifndef LIGHTCAP_ENGINE_RUNTIME_OBSERVER_H_
#define LIGHTCAP_ENGINE_RUNTIME_OBSERVER_H_

#include <cstddef>
#include <string_view>

namespace lightcap {

// One layer's work. A product of matrices has its rows in `height`, width 1, kernel 1 and stride 1.
struct LayerWork {
  std::string_view name;         // the checkpoint's module; empty for layers without weights
  std::string_view kernel;       // what computes it
  size_t height = 0, width = 1;  // of the output
  size_t channels = 0;           // of the input
  size_t kernel_size = 1, stride = 1;
  size_t out = 0;
  double macs = 0;   // multiply-adds, of direct convolution where it is one
  double bytes = 0;  // of inputs, weights and outputs, each once
};

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

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_RUNTIME_OBSERVER_H_
