#include "models/kv_cache.h"

#include <cstring>
#include <utility>

#include "engine/runtime/split.h"

namespace lightcap::internal {
namespace {

constexpr size_t kLineFloats = 16;

}  // namespace

KeyValueCache::KeyValueCache(Arena& arena, size_t slots, size_t width)
    : key_stride_(ceil_div(slots, kLineFloats) * kLineFloats) {
  keys_ = arena.floats(width * key_stride_);
  values_ = arena.matrix(slots, width);
}

void KeyValueCache::store_keys(size_t slot, Matrix keys, size_t first, size_t count) const {
  for (size_t k = first; k < first + count; ++k) {
    float* to = keys_ + k * key_stride_ + slot;
    for (size_t row = 0; row < keys.rows; ++row) to[row] = keys.row(row)[k];
  }
}

void KeyValueCache::store_values(size_t slot, Matrix values) const {
  for (size_t row = 0; row < values.rows; ++row)
    std::memcpy(values_.row(slot + row), values.row(row), values.columns * sizeof(float));
}

KeyValues KeyValueCache::head(size_t head, size_t head_size, size_t count) const {
  return {.keys = keys_ + head * head_size * key_stride_,
          .key_stride = key_stride_,
          .values = values_.data + head * head_size,
          .value_stride = values_.stride,
          .count = count};
}

void KeyValueCache::copy_from(const KeyValueCache& other, size_t slots) const {
  // All of the keys, whose slots lie side by side in short rows.
  std::memcpy(keys_, other.keys_, values_.columns * key_stride_ * sizeof(float));
  std::memcpy(values_.data, other.values_.data, slots * values_.stride * sizeof(float));
}

void CaptionCaches::allocate(Arena& arena, size_t beams, size_t layers, size_t slots,
                             size_t width) {
  caches_.resize(beams);
  spare_.resize(beams > 1 ? beams : 0);  // one beam has nothing to reorder
  for (auto* set : {&caches_, &spare_}) {
    for (std::vector<KeyValueCache>& beam : *set) {
      beam.resize(layers);
      for (KeyValueCache& cache : beam) cache = KeyValueCache(arena, slots, width);
    }
  }
}

void CaptionCaches::reorder(const Runtime& runtime, const uint32_t* parents, size_t beams,
                            size_t slots) {
  bool all_stay = true;
  for (size_t beam = 0; beam < beams; ++beam) all_stay = all_stay && parents[beam] == beam;
  if (all_stay) return;
  runtime.parallel_for(beams, [&](size_t beam) {
    for (size_t layer = 0; layer < caches_[beam].size(); ++layer)
      spare_[beam][layer].copy_from(caches_[parents[beam]][layer], slots);
  });
  std::swap(caches_, spare_);
}

}  // namespace lightcap::internal
