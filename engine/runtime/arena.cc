#include "engine/runtime/arena.h"

#include "engine/runtime/error.h"

namespace lightcap {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kPageFloats = 1024;  // 4 KiB

constexpr size_t align_up(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

size_t padded_stride(size_t columns) { return columns % kPageFloats == 0 ? columns + 16 : columns; }

}  // namespace

Tensor dense_tensor(float* data, size_t height, size_t width, size_t channels) {
  const size_t stride = padded_stride(channels);
  return {data, height, width, channels, width * stride, stride};
}

size_t dense_tensor_floats(size_t height, size_t width, size_t channels) {
  return height * width * padded_stride(channels);
}

void Arena::allocate() {
  // One line more, so that an empty plan is memory too.
  memory_ = allocate_block(peak_ + kAlignment);
  used_ = 0;
}

void* Arena::bytes(size_t count) {
  const size_t offset = used_;
  used_ = offset + align_up(count);
  if (planning()) {
    if (used_ > peak_) peak_ = used_;
    // Not null, so that address arithmetic on it is that of a real block.
    return reinterpret_cast<void*>(uintptr_t{kAlignment} + offset);
  }
  if (used_ > peak_) {
    used_ = offset;
    throw Error(ErrorCode::kInternal,
                "the arena of " + std::to_string(peak_) +
                    " bytes was planned too small: " + std::to_string(offset) + " are in use and " +
                    std::to_string(count) + " more were asked for");
  }
  return static_cast<char*>(memory_.get()) + offset;
}

}  // namespace lightcap
