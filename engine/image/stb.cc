#include "engine/image/stb.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string_view>

namespace lightcap::internal {
namespace {

// The memory of one call. stb_image lets compressed data unpack to any size, whatever the header
// says, and reports memory that ran out as damage, or with the reason of an earlier failure; so the
// account is kept here. It holds few blocks at a time: a table is enough, and blocks that it
// forgets are given back.
class Heap {
 public:
  Heap() = default;
  explicit Heap(const StbMemory& memory) : memory_(memory) {}

  // Zeros, since stb_image before 2.28 may read what it never wrote: what that holds must not be
  // chance.
  void* allocate(size_t bytes) {
    Block* free_block = find(nullptr);
    if (free_block == nullptr || !allows(0, bytes)) return nullptr;
    void* memory = std::calloc(std::max(bytes, size_t{1}), 1);
    return keep(*free_block, memory, bytes);
  }

  void* reallocate(void* old, size_t bytes) {
    if (old == nullptr) return allocate(bytes);
    Block* block = find(old);
    if (block == nullptr || !allows(block->bytes, bytes)) return nullptr;
    void* memory = std::realloc(old, std::max(bytes, size_t{1}));
    if (memory != nullptr) held_ -= block->bytes;
    return keep(*block, memory, bytes);
  }

  void release(void* memory) {
    if (memory == nullptr) return;
    if (Block* block = find(memory)) {
      forget(*block);
      std::free(memory);
    }
  }

  // The caller's from now on.
  void hand_over(void* memory) {
    if (Block* block = find(memory)) forget(*block);
  }

  void release_all() {
    for (Block& block : blocks_) release(block.memory);
  }

  bool over_limit() const { return over_limit_; }
  bool ran_out() const { return ran_out_; }

 private:
  struct Block {
    void* memory = nullptr;
    size_t bytes = 0;
  };

  Block* find(const void* memory) {
    for (Block& block : blocks_) {
      if (block.memory == memory) return &block;
    }
    over_limit_ = over_limit_ || memory == nullptr;
    return nullptr;
  }

  bool allows(size_t given_back, size_t bytes) {
    if (bytes > memory_.limit || held_ - given_back > memory_.limit - bytes) {
      over_limit_ = true;
      return false;
    }
    if (memory_.allocations == 0) {
      ran_out_ = true;
      return false;
    }
    --memory_.allocations;
    return true;
  }

  void* keep(Block& block, void* memory, size_t bytes) {
    if (memory == nullptr) {
      ran_out_ = true;
      return nullptr;
    }
    block = {memory, bytes};
    held_ += bytes;
    return memory;
  }

  void forget(Block& block) {
    held_ -= block.bytes;
    block = {};
  }

  StbMemory memory_ = {0};
  uint64_t held_ = 0;
  bool over_limit_ = false, ran_out_ = false;
  Block blocks_[32];
};

thread_local Heap heap;

// Gives the thread a heap for one call.
class HeapScope {
 public:
  explicit HeapScope(const StbMemory& memory) { heap = Heap(memory); }
  ~HeapScope() { heap.release_all(); }
  HeapScope(const HeapScope&) = delete;
  HeapScope& operator=(const HeapScope&) = delete;
};

}  // namespace
}  // namespace lightcap::internal

// Only what is wanted, in this file alone: a host may carry its own stb_image, and decoders that
// nobody asked for are attack surface. BMP and PNM are read by decoders of our own.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_MAX_DIMENSIONS 16384
#define STBI_MALLOC(bytes) lightcap::internal::heap.allocate(bytes)
#define STBI_REALLOC(memory, bytes) lightcap::internal::heap.reallocate(memory, bytes)
#define STBI_FREE(memory) lightcap::internal::heap.release(memory)
#define STBI_ASSERT(condition) static_cast<void>(0)
#ifdef __ARM_NEON
#define STBI_NEON
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb_image.h>
#pragma GCC diagnostic pop

namespace lightcap::internal {

static_assert(STBI_MAX_DIMENSIONS == ImageLimits::kMaxSide);

StbPicture stb_decode(const uint8_t* data, size_t size, int channels, const StbMemory& memory) {
  StbPicture picture;
  const HeapScope scope(memory);
  int width = 0, height = 0, channels_in_file = 0;
  // Some failures set no reason, and that of an earlier call would stand: this sets a known one.
  constexpr std::string_view kNoReason = "unknown image type";
  stbi_info_from_memory(data, 0, &width, &height, &channels_in_file);
  uint8_t* pixels = stbi_load_from_memory(data, static_cast<int>(size), &width, &height,
                                          &channels_in_file, channels);
  if (pixels == nullptr) {
    if (heap.ran_out()) throw std::bad_alloc();
    picture.over_limit = heap.over_limit();
    const char* reason = stbi_failure_reason();
    if (reason != nullptr && reason != kNoReason) picture.reason = reason;
    return picture;
  }
  heap.hand_over(pixels);
  picture.pixels.reset(pixels);
  picture.width = static_cast<size_t>(width);
  picture.height = static_cast<size_t>(height);
  return picture;
}

StbUnpacked stb_unpack(const uint8_t* data, size_t size, const StbMemory& memory) {
  StbUnpacked unpacked;
  const HeapScope scope(memory);
  int bytes = 0;
  char* text =
      stbi_zlib_decode_malloc(reinterpret_cast<const char*>(data), static_cast<int>(size), &bytes);
  if (text == nullptr) {
    if (heap.ran_out()) throw std::bad_alloc();
    return unpacked;
  }
  heap.hand_over(text);
  unpacked.bytes.reset(reinterpret_cast<uint8_t*>(text));
  unpacked.size = static_cast<size_t>(bytes);
  return unpacked;
}

}  // namespace lightcap::internal
