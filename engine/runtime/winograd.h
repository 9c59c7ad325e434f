// 3x3 convolutions' weights in Winograd's form, see kernels/simd/winograd.inl.
#ifndef LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_
#define LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "engine/runtime/block.h"
#include "engine/runtime/reloadable_memory.h"
#include "engine/runtime/thread_pool.h"
#include "kernels/packed_matrix.h"

namespace lightcap::internal {

// One layer's transformed weights. The memory is taken when the object is made, but costs nothing
// before prepare() writes it.
//
// Narrow floats in tiles of 2 may be left as they are in the file, where they take less than a
// third of the memory, and be transformed by each caption as it multiplies with them. That takes
// longer, but not half as much longer as a direct convolution.
class WinogradWeights {
 public:
  // Tiles of `tile` x `tile` outputs, 2 x 2 of int8 weights. `weights`, of depth 9 * channels, lie
  // in `file`, a mapped file, unless that is null: then they are resident in any case. Both must
  // outlive this.
  WinogradWeights(const PackedMatrix& weights, size_t tile, const ReloadableMemory* file,
                  bool is_kept = true);

  // True if such weights need not be kept transformed.
  static bool may_transform_anew(const PackedMatrix& weights, size_t tile) {
    return tile == 2 && is_narrow(weights.type);
  }

  size_t tile() const { return tile_; }
  // False if each caption transforms the weights that it is about to multiply; they have no
  // component() then.
  bool is_kept() const { return memory_ != nullptr; }
  // Transforms on the pool if nobody has yet; safe on several threads. Afterwards the weights'
  // pages of a mapped file are given back: most sessions read the transformed ones only.
  void prepare(ThreadPool& pool);
  // Component `index`, after prepare(): [outputs][channels].
  PackedMatrix component(size_t index) const;
  // That of int8 weights, as panels of pairs; null from the last component on.
  const int16_t* integer_component(size_t index) const;
  // All weights that a caption reads: the components one after the other, as one matrix of fp32
  // [components * outputs][channels], or those in the file.
  PackedMatrix all() const;

  // Multiply-adds of the components' products for a picture.
  double macs(size_t height, size_t width) const;

  // Memory of all components, if they are kept.
  size_t bytes() const { return bytes_; }
  // Memory that this takes, less what it gives back of the file.
  size_t extra_bytes() const { return bytes() - freed_bytes(); }

 private:
  bool is_integer() const { return weights_.type == DataType::kI8; }
  size_t freed_bytes() const;

  PackedMatrix weights_;
  size_t channels_, tile_, component_stride_;  // in floats, or 16-bit integers of int8 weights
  const ReloadableMemory* file_;
  size_t bytes_ = 0;
  Block memory_;
  void fill(ThreadPool& pool);
  // kEmpty, kFilled, or this_process() of the thread that fills it. Not a std::once_flag: of one
  // that another thread held when the process was forked, some C libraries wait for ever.
  static constexpr uint64_t kEmpty = 0, kFilled = UINT64_MAX;
  std::atomic<uint64_t> state_{kEmpty};
};

// The transformed weights of one model, shared by its sessions and freed with the last that uses
// them. Safe on several threads.
class WinogradCache {
 public:
  // `file` holds the weights and must outlive this; null where they are in other memory.
  explicit WinogradCache(const ReloadableMemory* file) : file_(file) {}

  // Not transformed yet, unless another session has done so.
  std::shared_ptr<WinogradWeights> get(const PackedMatrix& weights, size_t tile,
                                       bool is_kept = true);

 private:
  const ReloadableMemory* file_;
  // By the weights' address, tile and whether they are kept; under fork_safe_mutex().
  std::map<std::tuple<const void*, size_t, bool>, std::weak_ptr<WinogradWeights>> weights_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_WINOGRAD_H_
