#include "engine/runtime/winograd.h"

#include "engine/io/weights_file.h"
#include "kernels/pack.h"

namespace lightcap {

WinogradWeights::WinogradWeights(const float* panels, size_t in, size_t out, size_t tile,
                                 const WeightsFile* file)
    : panels_(panels),
      in_(in),
      out_(out),
      tile_(tile),
      component_stride_(panel_floats(out, in)),
      file_(file),
      memory_(allocate_block(bytes())) {}

size_t WinogradWeights::bytes() const {
  return winograd_components(tile_) * component_stride_ * sizeof(float);
}

size_t WinogradWeights::freed_bytes() const {
  return file_ == nullptr ? 0 : file_->pages_within(panels_, 9 * component_stride_).size;
}

const float* WinogradWeights::get(ThreadPool& pool) {
  auto* transformed = static_cast<float*>(memory_.get());
  std::call_once(filled_, [&] {
    const WinogradPanels args = {panels_, in_, tile_, transformed, component_stride_};
    pool.parallel_for(panel_count(out_),
                      [&](size_t panel) { pack_winograd_panels(args, panel, 1); });
    if (file_ != nullptr) file_->give_back(file_->pages_within(panels_, 9 * component_stride_));
  });
  return transformed;
}

}  // namespace lightcap
