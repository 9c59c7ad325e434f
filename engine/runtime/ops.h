// The graph's operations on whole tensors: a kernel, split into tasks for the thread pool. How an
// operation is split depends on its sizes alone, never on the number of threads.
#ifndef LIGHTCAP_ENGINE_RUNTIME_OPS_H_
#define LIGHTCAP_ENGINE_RUNTIME_OPS_H_

#include <cstddef>
#include <initializer_list>
#include <string_view>

#include "engine/runtime/arena.h"
#include "engine/runtime/conv_plan.h"
#include "engine/runtime/interruption.h"
#include "engine/runtime/observer.h"
#include "engine/runtime/tensor.h"
#include "engine/runtime/thread_pool.h"
#include "engine/runtime/value_tap.h"
#include "kernels/kernels.h"

namespace lightcap::internal {

// All that running the graph needs; it belongs to a session and outlives the graph's run.
//
// The graph's code runs twice: once to plan, over an arena that is planning, and then for every
// picture. It computes nothing itself: whatever reads or writes numbers stands in a function given
// to parallel_for() or serial(), and both skip it while planning. Code outside of these decides
// shapes and asks the arena for memory, by sizes alone. Code that forgets this faults while its
// session plans, see Arena.
struct Runtime {
  const KernelTable& kernels;
  ThreadPool& pool;
  Arena& arena;
  ConvPlan* convs = nullptr;  // null: every convolution is direct
  Observer* observer = nullptr;
  double* planned_steps = nullptr;  // null: nobody wants to know
  ValueTap* tap = nullptr;          // only where `convs` is null
  const Interruption* interruption = nullptr;

  // While planning, counts `steps` multiply-adds, or what takes as long, of what comes next.
  void plan_steps(double steps) const {
    if (planned_steps != nullptr && arena.planning()) *planned_steps += steps;
  }
  // True where the run may be interrupted, which costs a look between tasks.
  bool is_interruptible() const { return interruption != nullptr && interruption->is_expected(); }
  // Throws Error(kCancelled) where the run is to end.
  void check_interruption() const {
    if (is_interruptible()) interruption->check();
  }
  // Calls f(i) for every i in [0, count) on the pool, which ThreadPool::parallel_for describes: f
  // must not throw. Nothing while planning. Throws Error(kCancelled) where the run is to end; then
  // some of the tasks were not run.
  template <class F>
  void parallel_for(size_t count, F&& f) const {
    if (arena.planning()) return;
    if (is_interruptible()) {
      run_tasks(count, [&](size_t i) {
        if (!interruption->requested()) f(i);
      });
      interruption->check();
    } else {
      run_tasks(count, f);
    }
  }
  // Calls f() on the calling thread; it may throw. Nothing while planning.
  template <class F>
  void serial(F&& f) const {
    if (arena.planning()) return;
    check_interruption();
    if (observer == nullptr) {
      f();
    } else {
      const ObservedTask task(*observer);
      f();
    }
  }

 private:
  template <class F>
  void run_tasks(size_t count, F&& f) const {
    if (observer == nullptr) {
      pool.parallel_for(count, f);
    } else {
      pool.parallel_for(count, [&](size_t i) {
        const ObservedTask task(*observer);
        f(i);
      });
    }
  }
};

// Reports a layer to the runtime's observer for as long as this lives; work() -> LayerWork is
// called only if there is one. Layers are not reported while it is still open what computes them.
class Observed {
 public:
  template <class F>
  Observed(const Runtime& runtime, F&& work)
      : observer_(runtime.convs != nullptr && !runtime.convs->is_chosen() ? nullptr
                                                                          : runtime.observer) {
    if (observer_ != nullptr) observer_->begin(work());
  }
  ~Observed() {
    if (observer_ != nullptr) observer_->end();
  }
  Observed(const Observed&) = delete;
  Observed& operator=(const Observed&) = delete;

 private:
  Observer* observer_;
};

// y = x W^T + b, as in PyTorch: W [out][in], b [out] or null. Like the other weights below, a view
// of memory that the model owns.
struct Linear {
  PackedMatrix weights;
  const float* bias = nullptr;
  std::string_view name = {};  // the checkpoint's

  size_t in() const { return weights.depth; }
  size_t out() const { return weights.outputs; }
};

// The numbers of a convolution in integers, beside its weights' scales: see IntegerEpilogue in
// kernels.h. `output_scale` and `output_zero` say what the bytes of its output stand for; a scale
// of 0, that they are floats.
struct ConvQuantization {
  const int32_t* bias = nullptr;  // [out]
  float output_scale = 0;
  float residual_scale = 0;
  uint8_t input_zero = 0, output_zero = 0, residual_zero = 0;
  int16_t silu_factor = 0;
};

// A square convolution with its BatchNorm folded in: weights [out][kernel_y][kernel_x][in], as a
// matrix [out][kernel * kernel * in] in panels; bias [out] or null. `padding` is zeros on every
// side. With int8 weights it computes in integers, and `quantization` takes the place of `bias`.
struct Conv {
  PackedMatrix weights;
  const float* bias = nullptr;
  size_t in = 0, kernel = 1, stride = 1, padding = 0;
  std::string_view name = {};
  ConvQuantization quantization = {};

  size_t out() const { return weights.outputs; }
  // The output's side where the input has sides of `side` pixels.
  size_t output_side(size_t side) const { return (side + 2 * padding - kernel) / stride + 1; }
};

struct LayerNorm {
  const float* weight = nullptr;
  const float* bias = nullptr;
  float eps = 0;
  std::string_view name = {};
};

// Operations fused into the output; see Epilogue in kernels.h, and IntegerEpilogue for those of
// bytes. A residual has the output's shape, its rows (pixels) `residual_stride` elements apart, and
// may be the output itself: an element is read before it is written.
template <class T>
struct FusedOf {
  Activation activation = Activation::kNone;
  const T* residual = nullptr;
  size_t residual_stride = 0;
  bool residual_after = false;
};
using Fused = FusedOf<float>;
using ByteFused = FusedOf<uint8_t>;

// All operations write views that the caller owns; an output must not overlap an input unless that
// is said.

// c [rows][out] = fused(a [rows][in] W^T + b). With int8 weights the rows of `a` are first rounded
// to 16 bits, see QuantizeRowsArgs; that takes scratch of the arena.
void linear(const Runtime& runtime, const Linear& weights, Matrix a, Matrix c,
            const Fused& fused = {});

// c [rows][out] = a W^T + b for each of some layers that read the same rows. Their tasks are handed
// out at once, and what int8 weights need of the rows is made once.
struct LinearOutput {
  const Linear* weights;
  Matrix c;
};
inline constexpr size_t kMaxLinears = 4;
void linears(const Runtime& runtime, Matrix a, std::initializer_list<LinearOutput> outputs);

// output [h'][w'][out] = fused(convolution of input [h][w][in]), with h' and w' as
// Conv::output_side() has them. The output's rows are dense; the input may be any slice.
void conv2d(const Runtime& runtime, const Conv& weights, const Tensor& input, const Tensor& output,
            const Fused& fused = {});

// The same in integers, with int8 weights. Floats come out of the layers whose output scale is 0.
void conv2d(const Runtime& runtime, const Conv& weights, const ByteTensor& input,
            const ByteTensor& output, const ByteFused& fused = {});
void conv2d(const Runtime& runtime, const Conv& weights, const ByteTensor& input,
            const Tensor& output, const ByteFused& fused = {});

// pooled [h'/2][w'/2][out] = the means of 2 x 2 pixels of what conv2d makes; h' and w' are even.
// `whole` [h'][w'][out] is scratch, which Winograd's filtering doesn't need and leaves as it is.
void conv2d_pooled(const Runtime& runtime, const Conv& weights, const Tensor& input,
                   const Tensor& whole, const Tensor& pooled, Activation activation);

// In integers the means of the rounded outputs are rounded again.
void conv2d_pooled(const Runtime& runtime, const Conv& weights, const ByteTensor& input,
                   const ByteTensor& whole, const ByteTensor& pooled, Activation activation);

// The operations below do the same with bytes; an average of them has a window of 2.

// output [h / window][w / window][c] = the means of windows of `window` x `window` pixels of input
// [h][w][c], side by side.
void average_pool(const Runtime& runtime, const Tensor& input, size_t window, const Tensor& output);
void average_pool(const Runtime& runtime, const ByteTensor& input, size_t window,
                  const ByteTensor& output);
// output [h'][w'][c] = the maxima of windows of `window` x `window` pixels, `stride` apart, of
// input [h][w][c]. Pixels beyond the border, `padding` on every side, count as minus infinity.
void max_pool(const Runtime& runtime, const Tensor& input, size_t window, size_t stride,
              size_t padding, const Tensor& output);
void max_pool(const Runtime& runtime, const ByteTensor& input, size_t window, size_t stride,
              size_t padding, const ByteTensor& output);
// output [2h][2w][c], each pixel of input [h][w][c] four times (nearest neighbour). The output may
// be any slice.
void upsample2(const Runtime& runtime, const Tensor& input, const Tensor& output);
void upsample2(const Runtime& runtime, const ByteTensor& input, const ByteTensor& output);

// Rows of 16-bit integers, see QuantizeRowsArgs: views of the arena.
struct WideRows {
  uint8_t* planes = nullptr;  // [rows][2][panel_depth(columns, kI8)]
  float* scales = nullptr;    // [rows]
  size_t columns = 0;

  uint8_t* row(size_t i) const { return planes + i * 2 * panel_depth(columns, DataType::kI8); }
};
// Rounds the rows of x to 16 bits, in memory that it takes of the arena.
WideRows quantize_rows(const Runtime& runtime, Matrix x);

// y [rows][columns] = x * scale [columns], row by row. y may be x.
void scale_columns(const Runtime& runtime, Matrix x, const float* scale, Matrix y);

// y [rows][columns] = the rows of x, normalised, * weight + bias, in fp32. y may be x.
void layer_norm(const Runtime& runtime, const LayerNorm& weights, Matrix x, Matrix y);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_OPS_H_
