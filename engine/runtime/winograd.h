// A 3x3 convolution's weights in Winograd's form, see kernels/simd/winograd.inl.
#ifndef LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_
#define LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_

#include <cstddef>
#include <mutex>

#include "engine/runtime/block.h"
#include "engine/runtime/thread_pool.h"
#include "kernels/packed_matrix.h"

namespace lightcap {

class WeightsFile;

// Made from the panels on first use, which opening a model needn't wait for. The memory is taken
// when the object is made, but costs nothing before it is written. Sessions share it.
class WinogradWeights {
 public:
  // Tiles of `tile` x `tile` outputs. `weights`, of depth 9 * channels, lie in `file`, unless that
  // is null: then they are resident in any case.
  WinogradWeights(const PackedMatrix& weights, size_t tile, const WeightsFile* file);

  size_t tile() const { return tile_; }
  // The components one after the other, as one matrix of fp32: [components * outputs][channels].
  PackedMatrix all() const;
  // Component `index`, after prepare(): [outputs][channels].
  PackedMatrix component(size_t index) const;
  // Transforms on the pool if nobody has yet. Afterwards the weights' pages of a mapped file are
  // given back: nobody reads both forms.
  void prepare(ThreadPool& pool);

  // Memory that this takes, less what it gives back of the file.
  size_t bytes() const;
  size_t freed_bytes() const;

 private:
  PackedMatrix weights_;
  size_t channels_, tile_, component_stride_;  // in floats
  const WeightsFile* file_;
  Block memory_;
  std::once_flag filled_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_
