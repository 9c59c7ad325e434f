#include "engine/runtime/winograd.h"

#include <mutex>

#include "engine/runtime/process.h"
#include "kernels/kernels.h"
#include "kernels/pack.h"

namespace lightcap::internal {

WinogradWeights::WinogradWeights(const PackedMatrix& weights, size_t tile,
                                 const ReloadableMemory* file, bool is_kept)
    : weights_(weights),
      channels_(weights.depth / 9),
      tile_(tile),
      component_stride_(panel_elements(weights.outputs, channels_)),
      file_(file) {
  if (!is_kept) return;
  const size_t element = is_integer() ? sizeof(int16_t) : sizeof(float);
  bytes_ = winograd_components(tile_) * component_stride_ * element;
  memory_ = allocate_block(bytes_);
}

double WinogradWeights::macs(size_t height, size_t width) const {
  const size_t products = winograd_components(tile_) * winograd_tiles(height, width, tile_);
  return static_cast<double>(products) * static_cast<double>(channels_ * weights_.outputs);
}

size_t WinogradWeights::freed_bytes() const {
  return file_ == nullptr || !is_kept() ? 0
                                        : file_->releasable_bytes(weights_.data, weights_.bytes());
}

std::shared_ptr<WinogradWeights> WinogradCache::get(const PackedMatrix& weights, size_t tile,
                                                    bool is_kept) {
  const std::lock_guard lock(fork_safe_mutex());
  std::weak_ptr<WinogradWeights>& entry = weights_[{weights.data, tile, is_kept}];
  std::shared_ptr<WinogradWeights> shared = entry.lock();
  if (shared == nullptr) {
    shared = std::make_shared<WinogradWeights>(weights, tile, file_, is_kept);
    entry = shared;
  }
  return shared;
}

PackedMatrix WinogradWeights::all() const {
  if (!is_kept()) return weights_;
  return {memory_.get(), winograd_components(tile_) * weights_.outputs, channels_, DataType::kF32};
}

PackedMatrix WinogradWeights::component(size_t index) const {
  const float* first = static_cast<const float*>(memory_.get()) + index * component_stride_;
  return {first, weights_.outputs, channels_, DataType::kF32};
}

const int16_t* WinogradWeights::integer_component(size_t index) const {
  if (index >= winograd_components(tile_)) return nullptr;
  return static_cast<const int16_t*>(memory_.get()) + index * component_stride_;
}

void WinogradWeights::prepare(ThreadPool& pool) {
  if (!is_kept()) return;
  uint64_t state = state_.load(std::memory_order_acquire);
  while (state != kFilled) {
    const uint64_t us = this_process();
    if (state == us) {
      state_.wait(state, std::memory_order_acquire);
      state = state_.load(std::memory_order_acquire);
    } else if (state_.compare_exchange_strong(state, us, std::memory_order_acquire)) {
      // Empty, or begun by a thread that a fork left behind: its panels are made again.
      fill(pool);
      state = kFilled;
    }
  }
}

void WinogradWeights::fill(ThreadPool& pool) {
  struct Outcome {
    std::atomic<uint64_t>& state;
    uint64_t value = kEmpty;  // after an exception
    ~Outcome() {
      state.store(value, std::memory_order_release);
      state.notify_all();
    }
  } outcome{state_};
  pool.parallel_for(panel_count(weights_.outputs), [&](size_t panel) {
    if (is_integer()) {
      pack_integer_winograd_panels(
          {weights_, static_cast<int16_t*>(memory_.get()), component_stride_}, panel, 1);
    } else {
      pack_winograd_panels({weights_, tile_, static_cast<float*>(memory_.get()), component_stride_},
                           panel, 1);
    }
  });
  if (file_ != nullptr) file_->release(weights_.data, weights_.bytes());
  outcome.value = kFilled;
}

}  // namespace lightcap::internal
