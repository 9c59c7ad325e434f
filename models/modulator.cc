#include "models/modulator.h"

#include <algorithm>

namespace lightcap::internal {

void Modulator::forward(const Runtime& runtime, const uint32_t* concept_tokens, size_t count,
                        const Tensor& features, float* gate, const Tensor& modulated) const {
  const Arena::Scope scope(runtime.arena);
  const size_t d = word_embedding_.width();
  const Matrix mean = runtime.arena.matrix(1, d);
  const Matrix word = runtime.arena.matrix(1, d);
  const Matrix hidden = runtime.arena.matrix(1, fc1_.out());
  runtime.serial([&] {
    std::fill_n(mean.data, d, 0.0f);
    for (size_t i = 0; i < count; ++i) {
      word_embedding_.lookup(concept_tokens[i], word.data);
      for (size_t k = 0; k < d; ++k) mean.data[k] += word.data[k];
    }
    const float scale = count == 0 ? 0.0f : 1.0f / static_cast<float>(count);
    for (size_t k = 0; k < d; ++k) mean.data[k] *= scale;
  });
  linear(runtime, fc1_, mean, hidden, {.activation = Activation::kRelu});
  linear(runtime, fc2_, hidden, Matrix{gate, 1, fc2_.out(), fc2_.out()},
         {.activation = Activation::kSigmoid});
  scale_columns(runtime, features.pixels(), gate, modulated.pixels());
}

}  // namespace lightcap::internal
