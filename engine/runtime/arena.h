// The memory of a session: one block, given out like a stack.
#ifndef LIGHTCAP_ENGINE_RUNTIME_ARENA_H_
#define LIGHTCAP_ENGINE_RUNTIME_ARENA_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

#include "engine/platform/platform.h"
#include "engine/runtime/block.h"
#include "engine/runtime/tensor.h"

namespace lightcap::internal {

// The distance of pixels with so many channels. Where it would be a multiple of 4 KiB they are
// padded apart by a cache line: the rows of a register tile would fall into the same few cache sets
// and evict each other.
template <class T>
constexpr size_t dense_pixel_stride(size_t channels) {
  constexpr size_t kPage = 4096 / sizeof(T), kLine = 64 / sizeof(T);
  return channels % kPage == 0 ? channels + kLine : channels;
}

// A view [height][width][channels] over memory of dense_tensor_elements() elements. Rows are dense.
template <class T>
TensorOf<T> dense_tensor(T* data, size_t height, size_t width, size_t channels) {
  const size_t stride = dense_pixel_stride<T>(channels);
  return {data, height, width, channels, width * stride, stride};
}
template <class T = float>
constexpr size_t dense_tensor_elements(size_t height, size_t width, size_t channels) {
  return height * width * dense_pixel_stride<T>(channels);
}

// Thrown by an arena whose plan exceeds its limit.
struct ArenaLimitExceeded : std::exception {
  const char* what() const noexcept override { return "the plan exceeds the arena's limit"; }
};

// A fresh arena is planning: it hands out addresses of inaccessible ranges (platform::AddressRange)
// and only counts how much is in use at most. Running the graph over such an arena, with every task
// skipped (Runtime::parallel_for, Runtime::serial), is how a session learns its peak; allocate()
// then makes exactly that much memory, and the same run stays inside it. Since the ranges are
// inaccessible, a stage that computes while planning faults at its first access, when a session
// opens, instead of overwriting something: no test can miss it. Buffers of one plan may share their
// addresses, as nothing is ever stored there.
//
// An arena owns all memory that it hands out; whoever asks gets a view, which is valid until the
// Scope around the request ends. Not for use on several threads at once.
class Arena {
 public:
  // A plan that would use more than `limit` bytes ends with ArenaLimitExceeded.
  explicit Arena(size_t limit = kNoLimit) : limit_(std::min(limit, kNoLimit)) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Ends planning: makes memory of the peak seen so far and gives the inaccessible ranges back, so
  // that addresses handed out before are void. Throws std::bad_alloc.
  void allocate();
  bool planning() const { return memory_ == nullptr; }
  // Forgets what was planned so far and gives the inaccessible ranges back. Only while planning.
  void restart();
  // Bytes in use at most, so far; of the memory once that is allocated. In a plan that exceeded the
  // limit, what would be in use then.
  size_t peak_bytes() const { return peak_; }

  // `count` elements, floats or bytes, 64-byte aligned, not initialised. Throws Error(kInternal)
  // where the plan was smaller; while planning ArenaLimitExceeded, and std::bad_alloc where the
  // system has no addresses left.
  template <class T>
  T* elements(size_t count) {
    return static_cast<T*>(bytes(count * sizeof(T)));
  }
  float* floats(size_t count) { return elements<float>(count); }
  void* bytes(size_t count);

  // Views as dense_tensor() makes them, over memory of this arena.
  template <class T = float>
  TensorOf<T> tensor(size_t height, size_t width, size_t channels) {
    return dense_tensor(elements<T>(dense_tensor_elements<T>(height, width, channels)), height,
                        width, channels);
  }
  Matrix matrix(size_t rows, size_t columns) { return tensor(rows, 1, columns).pixels(); }

  // All memory handed out while a scope lives is given back when it ends. Scopes nest.
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
  static constexpr size_t kNoLimit = SIZE_MAX / 4;  // no machine has so many addresses

  void* planned_bytes(size_t count);

  const size_t limit_;
  Block memory_;
  std::vector<platform::AddressRange> ranges_;  // while planning; the last is the largest
  size_t used_ = 0, peak_ = 0;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_ARENA_H_
