#include "models/image_encoder.h"

#include <algorithm>

namespace lightcap::internal {
namespace {

constexpr Fused kRelu = {.activation = Activation::kRelu};

}  // namespace

void ImageEncoder::forward(const Runtime& runtime, const Tensor& x, const Tensor& features) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  size_t side = features.height * 8;  // S/4, after the stem
  // Stages alternate between two buffers; the largest maps are the first stage's and the stem's
  // last, both in the second.
  const auto stage_floats = [&](size_t stage) {
    return dense_tensor_elements(side >> stage, side >> stage, stages_[stage][0].conv3.out());
  };
  float* const buffers[2] = {
      arena.floats(std::max(dense_tensor_elements(side, side, conv3_.out()), stage_floats(1))),
      arena.floats(std::max({dense_tensor_elements(2 * side, 2 * side, conv3_.out()), stage_floats(0),
                             stage_floats(2)}))};

  Tensor y = dense_tensor(buffers[0], side, side, conv3_.out());  // [S/4][S/4][w]
  {
    const Arena::Scope stem(arena);
    const Tensor a = arena.tensor(2 * side, 2 * side, conv1_.out());              // [S/2][S/2][w/2]
    const Tensor b = arena.tensor(2 * side, 2 * side, conv2_.out());              // [S/2][S/2][w/2]
    const Tensor c = dense_tensor(buffers[1], 2 * side, 2 * side, conv3_.out());  // [S/2][S/2][w]
    conv2d(runtime, conv1_, x, a, kRelu);
    conv2d(runtime, conv2_, a, b, kRelu);
    conv2d_pooled(runtime, conv3_, b, c, y, Activation::kRelu);
  }
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    const Tensor input = y;
    side /= stages_[stage][0].stride;
    y = stage + 1 == stages_.size()
            ? features
            : dense_tensor(buffers[(stage + 1) % 2], side, side, stages_[stage][0].conv3.out());
    block(runtime, stages_[stage][0], input, y);
    // The others keep the shape and work in place: y += f(y).
    for (size_t i = 1; i < stages_[stage].size(); ++i) block(runtime, stages_[stage][i], y, y);
  }
}

// y = relu(conv3(pool(relu(conv2(relu(conv1(x)))))) + shortcut(x)). y may be x where there is no
// downsample: x is read for the last time as the residual of the very element that replaces it.
void ImageEncoder::block(const Runtime& runtime, const Bottleneck& block, const Tensor& x,
                         const Tensor& y) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  const Tensor a = arena.tensor(x.height, x.width, block.conv1.out());
  const Tensor b = arena.tensor(x.height, x.width, block.conv2.out());
  conv2d(runtime, block.conv1, x, a, kRelu);
  Tensor pooled = b;
  Tensor shortcut = x;
  if (block.stride == 1) {
    conv2d(runtime, block.conv2, a, b, kRelu);
  } else {
    pooled = arena.tensor(y.height, y.width, b.channels);
    shortcut = arena.tensor(y.height, y.width, x.channels);
    conv2d_pooled(runtime, block.conv2, a, b, pooled, Activation::kRelu);
    average_pool(runtime, x, 2, shortcut);
  }
  if (block.downsample) {
    conv2d(runtime, *block.downsample, shortcut, y);
    shortcut = y;
  }
  conv2d(runtime, block.conv3, pooled, y,
         {.activation = Activation::kRelu,
          .residual = shortcut.data,
          .residual_stride = shortcut.pixel_stride});
}

}  // namespace lightcap::internal
