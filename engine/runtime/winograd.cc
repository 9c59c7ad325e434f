#include "engine/runtime/winograd.h"

#include "engine/io/weights_file.h"
#include "kernels/kernels.h"
#include "kernels/pack.h"

namespace lightcap {

WinogradWeights::WinogradWeights(const PackedMatrix& weights, size_t tile, const WeightsFile* file)
    : weights_(weights),
      channels_(weights.depth / 9),
      tile_(tile),
      component_stride_(panel_elements(weights.outputs, channels_)),
      file_(file),
      memory_(allocate_block(bytes())) {}

size_t WinogradWeights::bytes() const {
  return winograd_components(tile_) * component_stride_ * sizeof(float);
}

size_t WinogradWeights::freed_bytes() const {
  return file_ == nullptr ? 0 : file_->pages_within(weights_.data, weights_.bytes()).size;
}

std::shared_ptr<WinogradWeights> WinogradCache::get(const PackedMatrix& weights, size_t tile) {
  const std::lock_guard lock(mutex_);
  std::weak_ptr<WinogradWeights>& entry = weights_[{weights.data, tile}];
  std::shared_ptr<WinogradWeights> shared = entry.lock();
  if (shared == nullptr) {
    shared = std::make_shared<WinogradWeights>(weights, tile, file_);
    entry = shared;
  }
  return shared;
}

PackedMatrix WinogradWeights::all() const {
  return {memory_.get(), winograd_components(tile_) * weights_.outputs, channels_, DataType::kF32};
}

PackedMatrix WinogradWeights::component(size_t index) const {
  const float* first = static_cast<const float*>(memory_.get()) + index * component_stride_;
  return {first, weights_.outputs, channels_, DataType::kF32};
}

void WinogradWeights::prepare(ThreadPool& pool) {
  std::call_once(filled_, [&] {
    const WinogradPanels args = {weights_, tile_, static_cast<float*>(memory_.get()),
                                 component_stride_};
    pool.parallel_for(panel_count(weights_.outputs),
                      [&](size_t panel) { pack_winograd_panels(args, panel, 1); });
    if (file_ != nullptr) file_->give_back(file_->pages_within(weights_.data, weights_.bytes()));
  });
}

}  // namespace lightcap
