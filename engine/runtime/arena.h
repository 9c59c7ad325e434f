// The memory of a session: one block, given out like a stack.
#ifndef LIGHTCAP_ENGINE_RUNTIME_ARENA_H_
#define LIGHTCAP_ENGINE_RUNTIME_ARENA_H_

#include <cstddef>
#include <cstdint>

#include "engine/runtime/block.h"
#include "engine/runtime/tensor.h"

namespace lightcap {

// A tensor over memory of dense_tensor_floats() floats. Rows are dense. Pixels are padded apart
// where their stride would be a multiple of 4 KiB: the rows of a register tile would fall into the
// same few cache sets and evict each other.
Tensor dense_tensor(float* data, size_t height, size_t width, size_t channels);
size_t dense_tensor_floats(size_t height, size_t width, size_t channels);

// A fresh arena has no memory: it hands out addresses that must not be followed and only remembers
// how much was in use at most. Running the graph over such an arena, with every kernel skipped, is
// how a session learns its peak; allocate() then makes exactly that much, and the same run stays
// inside it.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Ends planning: makes memory of the peak seen so far. Throws std::bad_alloc.
  void allocate();
  bool planning() const { return memory_ == nullptr; }
  // Forgets what was planned so far. Only while planning.
  void restart() { used_ = peak_ = 0; }
  size_t peak_bytes() const { return peak_; }

  // `count` floats, 64-byte aligned, not initialised. Throws Error(kInternal) where the plan was
  // smaller.
  float* floats(size_t count) { return static_cast<float*>(bytes(count * sizeof(float))); }
  void* bytes(size_t count);

  Tensor tensor(size_t height, size_t width, size_t channels) {
    return dense_tensor(floats(dense_tensor_floats(height, width, channels)), height, width,
                        channels);
  }
  Matrix matrix(size_t rows, size_t columns) { return tensor(rows, 1, columns).pixels(); }

  // What is allocated while a scope lives is given back when it ends.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), used_(arena.used_) {}
    ~Scope() { arena_.used_ = used_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t used_;
  };

 private:
  Block memory_;
  size_t used_ = 0, peak_ = 0;
};

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_RUNTIME_ARENA_H_
