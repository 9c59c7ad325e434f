#include "engine/winograd.h"

#include <new>

#include "engine/weights_file.h"
#include "kernels/pack.h"

namespace lightcap {

void WinogradWeights::Freed::operator()(float* memory) const {
  ::operator delete (memory, std::align_val_t{kWeightsAlignment});
}

WinogradWeights::WinogradWeights(const float* panels, size_t in, size_t out, size_t tile,
                                 const WeightsFile* file)
    : panels_(panels),
      in_(in),
      out_(out),
      tile_(tile),
      component_stride_(panel_floats(out, in)),
      file_(file),
      memory_(static_cast<float*>(::operator new (bytes(), std::align_val_t{kWeightsAlignment}))) {}

size_t WinogradWeights::bytes() const {
  return winograd_components(tile_) * component_stride_ * sizeof(float);
}

size_t WinogradWeights::freed_bytes() const {
  return file_ == nullptr ? 0 : file_->pages_within(panels_, 9 * component_stride_).size;
}

const float* WinogradWeights::get(ThreadPool& pool) {
  std::call_once(filled_, [&] {
    const WinogradPanels args = {panels_, in_, tile_, memory_.get(), component_stride_};
    pool.parallel_for(panel_count(out_),
                      [&](size_t panel) { pack_winograd_panels(args, panel, 1); });
    if (file_ != nullptr) file_->give_back(file_->pages_within(panels_, 9 * component_stride_));
  });
  return memory_.get();
}

}  // namespace lightcap
