// Keys and values that attention has computed and will see again.
#ifndef LIGHTCAP_MODELS_KV_CACHE_H_
#define LIGHTCAP_MODELS_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/runtime/ops.h"

namespace lightcap::internal {

// Keys and values of one layer, a slot for each token. Keys are transposed per head,
// [heads][head_size][slots], as the attention kernel wants them; values are [slots][width]. A view:
// the memory belongs to the arena that it was made from. Nothing is initialised.
class KeyValueCache {
 public:
  KeyValueCache() = default;
  KeyValueCache(Arena& arena, size_t slots, size_t width);

  // Rows [rows][width] become the slots from `slot` on.
  void store_keys(size_t slot, Matrix keys) const { store_keys(slot, keys, 0, keys.columns); }
  // The same for `count` columns from `first` on, so that tasks can share the work.
  void store_keys(size_t slot, Matrix keys, size_t first, size_t count) const;
  void store_values(size_t slot, Matrix values) const;
  void store(size_t slot, Matrix keys, Matrix values) const {
    store_keys(slot, keys);
    store_values(slot, values);
  }
  // The values [count][width] of the first slots, for whoever computes them in place.
  Matrix values(size_t count) const { return values_.first_rows(count); }
  // One head's part of the first `count` slots.
  KeyValues head(size_t head, size_t head_size, size_t count) const;
  // Makes the first `slots` slots those of `other`, which has the same size.
  void copy_from(const KeyValueCache& other, size_t slots) const;

 private:
  float* keys_ = nullptr;
  size_t key_stride_ = 0;
  Matrix values_;
};

// A cache for each caption under way and each layer, in two sets, so that beams can be reordered by
// copying from one set to the other.
class CaptionCaches {
 public:
  // Memory of the arena; calling it again with the same sizes reuses the vectors.
  void allocate(Arena& arena, size_t beams, size_t layers, size_t slots, size_t width);
  const KeyValueCache& at(size_t beam, size_t layer) const { return caches_[beam][layer]; }
  // Beam i < beams goes on from what was beam parents[i], for slots below `slots`; what other beams
  // and slots hold is lost.
  void reorder(const Runtime& runtime, const uint32_t* parents, size_t beams, size_t slots);

 private:
  std::vector<std::vector<KeyValueCache>> caches_, spare_;  // [beams][layers]
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_KV_CACHE_H_
