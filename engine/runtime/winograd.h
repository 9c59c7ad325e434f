// A 3x3 convolution's weights in Winograd's form, see kernels/simd/winograd.inl.
#ifndef LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_
#define LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_

#include <cstddef>
#include <mutex>

#include "engine/runtime/block.h"
#include "engine/runtime/thread_pool.h"

namespace lightcap {

class WeightsFile;

// Made from the panels on first use, which opening a model needn't wait for. The memory is taken
// when the object is made, but costs nothing before it is written. Sessions share it.
class WinogradWeights {
 public:
  // Tiles of `tile` x `tile` outputs. `panels` lie in `file`, unless that is null: then they are
  // resident in any case.
  WinogradWeights(const float* panels, size_t in, size_t out, size_t tile, const WeightsFile* file);

  size_t tile() const { return tile_; }
  // Floats from one component to the next.
  size_t component_stride() const { return component_stride_; }
  // Transforms on the pool if nobody has yet. Afterwards the panels' pages of a mapped file are
  // given back: nobody reads both forms.
  const float* get(ThreadPool& pool);

  // Memory that this takes, less what it gives back of the file.
  size_t bytes() const;
  size_t freed_bytes() const;

 private:
  const float* panels_;
  size_t in_, out_, tile_, component_stride_;
  const WeightsFile* file_;
  Block memory_;
  std::once_flag filled_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_
