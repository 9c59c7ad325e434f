#include "models/image_encoder.h"

#include <algorithm>

namespace lightcap::internal {
namespace {

template <class T>
constexpr FusedOf<T> kRelu = {.activation = Activation::kRelu};

}  // namespace

// y [S/4][S/4][w]; `whole` [S/2][S/2][w] is scratch.
template <class T>
void ImageEncoder::stem(const Runtime& runtime, const TensorOf<T>& x, const TensorOf<T>& whole,
                        const TensorOf<T>& y) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  const TensorOf<T> a = arena.tensor<T>(whole.height, whole.width, conv1_.out());  // [..][w/2]
  const TensorOf<T> b = arena.tensor<T>(whole.height, whole.width, conv2_.out());  // [..][w/2]
  conv2d(runtime, conv1_, x, a, kRelu<T>);
  conv2d(runtime, conv2_, a, b, kRelu<T>);
  conv2d_pooled(runtime, conv3_, b, whole, y, Activation::kRelu);
}

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
      arena.floats(std::max({dense_tensor_elements(2 * side, 2 * side, conv3_.out()),
                             stage_floats(0), stage_floats(2)}))};

  Tensor y = dense_tensor(buffers[0], side, side, conv3_.out());  // [S/4][S/4][w]
  stem(runtime, x, dense_tensor(buffers[1], 2 * side, 2 * side, conv3_.out()), y);
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    const Tensor input = y;
    side /= stages_[stage][0].stride;
    y = stage + 1 == stages_.size()
            ? features
            : dense_tensor(buffers[(stage + 1) % 2], side, side, stages_[stage][0].conv3.out());
    reshape(runtime, stages_[stage][0], input, y);
    // The others keep the shape and work in place.
    for (size_t i = 1; i < stages_[stage].size(); ++i) refine(runtime, stages_[stage][i], y, y);
  }
}

// The first block of a stage: y = relu(conv3(pool(relu(conv2(relu(conv1(x)))))) +
// downsample(pool(x))), without the pools where its stride is 1.
void ImageEncoder::reshape(const Runtime& runtime, const Bottleneck& block, const Tensor& x,
                           const Tensor& y) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  const Tensor a = arena.tensor(x.height, x.width, block.conv1.out());
  const Tensor b = arena.tensor(x.height, x.width, block.conv2.out());
  conv2d(runtime, block.conv1, x, a, kRelu<float>);
  Tensor pooled = b;
  Tensor shortcut = x;
  if (block.stride == 1) {
    conv2d(runtime, block.conv2, a, b, kRelu<float>);
  } else {
    pooled = arena.tensor(y.height, y.width, b.channels);
    shortcut = arena.tensor(y.height, y.width, x.channels);
    conv2d_pooled(runtime, block.conv2, a, b, pooled, Activation::kRelu);
    average_pool(runtime, x, 2, shortcut);
  }
  conv2d(runtime, *block.downsample, shortcut, y);
  conv2d(runtime, block.conv3, pooled, y,
         {.activation = Activation::kRelu, .residual = y.data, .residual_stride = y.pixel_stride});
}

// The other blocks: y = relu(conv3(relu(conv2(relu(conv1(x))))) + x). y may be x: x is read for the
// last time as the residual of the very element that replaces it.
template <class T, class Y>
void ImageEncoder::refine(const Runtime& runtime, const Bottleneck& block, const TensorOf<T>& x,
                          const TensorOf<Y>& y) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  const TensorOf<T> a = arena.tensor<T>(x.height, x.width, block.conv1.out());
  const TensorOf<T> b = arena.tensor<T>(x.height, x.width, block.conv2.out());
  conv2d(runtime, block.conv1, x, a, kRelu<T>);
  conv2d(runtime, block.conv2, a, b, kRelu<T>);
  conv2d(
      runtime, block.conv3, b, y,
      FusedOf<T>{
          .activation = Activation::kRelu, .residual = x.data, .residual_stride = x.pixel_stride});
}

void ImageEncoder::forward(const Runtime& runtime, const ByteTensor& x,
                           const Tensor& features) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  size_t side = features.height * 8;  // S/4, after the stem
  // The input of the first block's conv3; the stem writes its second part.
  const ByteTensor first = arena.tensor<uint8_t>(side, side, stages_[0][0].conv3.in);
  ByteTensor y = first.slice(stages_[0][0].conv2.out(), conv3_.out());
  {
    const Arena::Scope stem_scope(arena);
    stem(runtime, x, arena.tensor<uint8_t>(2 * side, 2 * side, conv3_.out()), y);
  }
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    const std::vector<Bottleneck>& blocks = stages_[stage];
    const ByteTensor input = y;
    side /= blocks[0].stride;
    const ByteTensor both =
        stage == 0 ? first : arena.tensor<uint8_t>(side, side, blocks[0].conv3.in);
    y = arena.tensor<uint8_t>(side, side, blocks[0].conv3.out());
    // The last block of all gives floats.
    const size_t in_bytes = blocks.size() - (stage + 1 == stages_.size());
    for (size_t i = 0; i < in_bytes; ++i)
      i == 0 ? reshape(runtime, blocks[0], input, both, y) : refine(runtime, blocks[i], y, y);
    if (in_bytes == blocks.size()) continue;
    in_bytes == 0 ? reshape(runtime, blocks[0], input, both, features)
                  : refine(runtime, blocks[in_bytes], y, features);
  }
}

// The first block of a stage in integers. The shortcut is part of conv3, which reads both branches
// side by side: `both` [..][planes + channels of x]. Where the stride is 1, x is the second part.
template <class Y>
void ImageEncoder::reshape(const Runtime& runtime, const Bottleneck& block, const ByteTensor& x,
                           const ByteTensor& both, const TensorOf<Y>& y) const {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  const ByteTensor a = arena.tensor<uint8_t>(x.height, x.width, block.conv1.out());
  const ByteTensor branch = both.slice(0, block.conv2.out());
  conv2d(runtime, block.conv1, x, a, kRelu<uint8_t>);
  if (block.stride == 1) {
    conv2d(runtime, block.conv2, a, branch, kRelu<uint8_t>);
  } else {
    const ByteTensor b = arena.tensor<uint8_t>(x.height, x.width, block.conv2.out());
    conv2d_pooled(runtime, block.conv2, a, b, branch, Activation::kRelu);
    average_pool(runtime, x, 2, both.slice(branch.channels, x.channels));
  }
  conv2d(runtime, block.conv3, both, y, kRelu<uint8_t>);
}

}  // namespace lightcap::internal
