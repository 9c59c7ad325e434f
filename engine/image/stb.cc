#include "engine/image/stb.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string_view>
#include <utility>

#include "engine/runtime/block.h"

namespace lightcap::internal {
namespace {

// The memory of one call, and what may end it. stb_image lets compressed data unpack to any size,
// whatever the header says, and reports memory that ran out as damage, or with the reason of an
// earlier failure; so the account is kept here. It holds few blocks at a time: a table is enough,
// and blocks that it forgets are given back.
class Heap {
 public:
  Heap() = default;
  explicit Heap(const StbLimits& limits) : limits_(limits) {}

  // Throws Error(kCancelled): stb_image's functions are compiled with this file, as C++, and hold
  // nothing that is not in this account.
  void check() const { check_interruption(limits_.interruption); }

  // Zeros, since stb_image before 2.28 may read what it never wrote: what that holds must not be
  // chance.
  void* allocate(size_t bytes) {
    Block* free_block = find(nullptr);
    if (free_block == nullptr || !allows(0, bytes)) return nullptr;
    void* memory = std::calloc(std::max(bytes, size_t{1}), 1);
    if (memory != nullptr) prefer_huge_pages(memory, bytes);
    return keep(*free_block, memory, bytes);
  }

  // More room behind unpacked data, of which stb_image asks for twice as much as it was granted
  // when it has filled that. It is granted a piece, though there is room for what is expected, so
  // that it asks again and again.
  static constexpr size_t kPiece = size_t{1} << 17;  // more than stb_image writes without asking
  void* grow(void* old, size_t granted, unsigned int& bytes) {
    Block* block = find(old);
    if (block == nullptr) return nullptr;
    check();
    bytes = static_cast<unsigned int>(std::min<size_t>(bytes, granted + kPiece));
    if (bytes <= block->bytes) return old;
    return reallocate(*block, std::max(2 * block->bytes, size_t{bytes}));
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
    check();
    if (bytes > limits_.bytes || held_ - given_back > limits_.bytes - bytes) {
      over_limit_ = true;
      return false;
    }
    if (limits_.allocations == 0) {
      ran_out_ = true;
      return false;
    }
    --limits_.allocations;
    return true;
  }

  void* reallocate(Block& block, size_t bytes) {
    if (!allows(block.bytes, bytes)) return nullptr;
    void* memory = std::realloc(block.memory, bytes);
    if (memory != nullptr) held_ -= block.bytes;
    return keep(block, memory, bytes);
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

  StbLimits limits_ = {0};
  uint64_t held_ = 0;
  bool over_limit_ = false, ran_out_ = false;
  Block blocks_[32];
};

thread_local Heap heap;

// Gives the thread a heap for one call.
class HeapScope {
 public:
  explicit HeapScope(const StbLimits& limits) { heap = Heap(limits); }
  ~HeapScope() { heap.release_all(); }
  HeapScope(const HeapScope&) = delete;
  HeapScope& operator=(const HeapScope&) = delete;
};

}  // namespace
}  // namespace lightcap::internal

// Only what is wanted, in this file alone: a host may carry its own stb_image, and decoders that
// nobody asked for are attack surface. PNG, BMP and PNM are read by decoders of our own.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_SUPPORT_ZLIB
#define STBI_MAX_DIMENSIONS 16384
#define STBI_MALLOC(bytes) lightcap::internal::heap.allocate(bytes)
#define STBI_REALLOC_SIZED(memory, granted, bytes) \
  lightcap::internal::heap.grow(memory, granted, bytes)
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

namespace {

constexpr int kChannels = 3;

// Decodes a JPEG with a look at the heap's interruption again and again: data come a hundred bytes
// at a time, blocks of 8 x 8 samples become pixels by stb_image's functions for that, and these
// colours row by row.
class WatchedJpeg {
 public:
  WatchedJpeg(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}

  uint8_t* load(int& width, int& height) {
    constexpr stbi_io_callbacks kReader = {read, skip, ended};
    stbi__context context;
    stbi__start_callbacks(&context, const_cast<stbi_io_callbacks*>(&kReader), this);
    auto* decoder = static_cast<stbi__jpeg*>(heap.allocate(sizeof(stbi__jpeg)));
    if (decoder == nullptr) return nullptr;
    decoder->s = &context;
    stbi__setup_jpeg(decoder);
    usual_block = std::exchange(decoder->idct_block_kernel, block);
    usual_colours = std::exchange(decoder->YCbCr_to_RGB_kernel, colours);
    int channels_in_file = 0;
    uint8_t* pixels = load_jpeg_image(decoder, &width, &height, &channels_in_file, kChannels);
    heap.release(decoder);
    return pixels;
  }

 private:
  static WatchedJpeg& self(void* user) { return *static_cast<WatchedJpeg*>(user); }

  static int read(void* user, char* out, int size) {
    heap.check();
    WatchedJpeg& file = self(user);
    const ptrdiff_t count = file.until_scan(size);
    std::copy_n(file.data_, count, out);
    file.data_ += count;
    return static_cast<int>(count);
  }
  // The bytes before the next scan, `size` at most: scans that have no data go over all blocks too.
  ptrdiff_t until_scan(int size) const {
    const uint8_t* const end = data_ + std::min<ptrdiff_t>(size, end_ - data_);
    if (end == data_) return 0;
    const uint8_t* at = data_;
    do {
      at = std::find(at + 1, end, uint8_t{0xff});
    } while (at != end && (at + 1 == end_ || at[1] != 0xda));
    return at - data_;
  }
  static void skip(void* user, int count) {
    WatchedJpeg& file = self(user);
    file.data_ += std::min<ptrdiff_t>(count, file.end_ - file.data_);
  }
  static int ended(void* user) { return self(user).data_ == self(user).end_ ? 1 : 0; }

  static void block(stbi_uc* out, int stride, short data[64]) {
    if (++blocks % 64 == 0) heap.check();
    usual_block(out, stride, data);
  }
  static void colours(stbi_uc* out, const stbi_uc* y, const stbi_uc* cb, const stbi_uc* cr,
                      int count, int step) {
    heap.check();
    usual_colours(out, y, cb, cr, count, step);
  }

  // Those functions have no room for anything of ours.
  static thread_local decltype(stbi__jpeg::idct_block_kernel) usual_block;
  static thread_local decltype(stbi__jpeg::YCbCr_to_RGB_kernel) usual_colours;
  static thread_local uint32_t blocks;

  const uint8_t* data_;
  const uint8_t* const end_;
};

thread_local decltype(stbi__jpeg::idct_block_kernel) WatchedJpeg::usual_block = nullptr;
thread_local decltype(stbi__jpeg::YCbCr_to_RGB_kernel) WatchedJpeg::usual_colours = nullptr;
thread_local uint32_t WatchedJpeg::blocks = 0;

// stb_image's loop over the blocks of deflate, with a look at the heap's interruption before each,
// as there are blocks that hold nothing. False if the data are damaged.
bool unpack_blocks(stbi__zbuf& unpacked) {
  constexpr int kLengths = 288, kDistances = 32;
  while (true) {
    heap.check();
    const bool is_last = stbi__zreceive(&unpacked, 1) != 0;
    switch (stbi__zreceive(&unpacked, 2)) {
      case 0:
        if (stbi__parse_uncompressed_block(&unpacked) == 0) return false;
        break;
      case 1:
        if (stbi__zbuild_huffman(&unpacked.z_length, stbi__zdefault_length, kLengths) == 0 ||
            stbi__zbuild_huffman(&unpacked.z_distance, stbi__zdefault_distance, kDistances) == 0 ||
            stbi__parse_huffman_block(&unpacked) == 0)
          return false;
        break;
      case 2:
        if (stbi__compute_huffman_codes(&unpacked) == 0 ||
            stbi__parse_huffman_block(&unpacked) == 0)
          return false;
        break;
      default:
        return stbi__err("bad block type", "Corrupt PNG") != 0;
    }
    if (is_last) return true;
  }
}

// Some failures set no reason, and that of an earlier call would stand: this sets a known one.
constexpr std::string_view kNoReason = "unknown image type";
void forget_reason() {
  int width = 0, height = 0, channels = 0;
  stbi_info_from_memory(nullptr, 0, &width, &height, &channels);
}

// Fills in why a call failed.
template <class Result>
Result failed(Result result) {
  if (heap.ran_out()) throw std::bad_alloc();
  result.over_limit = heap.over_limit();
  const char* reason = stbi_failure_reason();
  if (reason != nullptr && reason != kNoReason) result.reason = reason;
  return result;
}

}  // namespace

StbPicture stb_decode_jpeg(const uint8_t* data, size_t size, const StbLimits& limits) {
  const HeapScope scope(limits);
  forget_reason();
  StbPicture picture;
  int width = 0, height = 0, channels_in_file = 0;
  uint8_t* pixels = nullptr;
  if (limits.interruption != nullptr && limits.interruption->is_expected()) {
    pixels = WatchedJpeg(data, size).load(width, height);
  } else {
    pixels = stbi_load_from_memory(data, static_cast<int>(size), &width, &height, &channels_in_file,
                                   kChannels);
  }
  if (pixels == nullptr) return failed(std::move(picture));
  heap.hand_over(pixels);
  picture.pixels.reset(pixels);
  picture.width = static_cast<size_t>(width);
  picture.height = static_cast<size_t>(height);
  return picture;
}

StbUnpacked stb_unpack(const PackedBytes& packed, const StbLimits& limits) {
  const HeapScope scope(limits);
  forget_reason();
  StbUnpacked unpacked;
  auto* bytes = static_cast<char*>(heap.allocate(packed.expected + Heap::kPiece));
  if (bytes == nullptr) return failed(std::move(unpacked));
  stbi__zbuf state = {};
  state.zbuffer = const_cast<uint8_t*>(packed.data);
  state.zbuffer_end = state.zbuffer + packed.size;
  state.zout = state.zout_start = bytes;
  state.zout_end = bytes + Heap::kPiece;
  state.z_expandable = 1;
  if ((packed.has_zlib_header && stbi__parse_zlib_header(&state) == 0) || !unpack_blocks(state))
    return failed(std::move(unpacked));
  heap.hand_over(state.zout_start);
  unpacked.bytes.reset(reinterpret_cast<uint8_t*>(state.zout_start));
  unpacked.size = static_cast<size_t>(state.zout - state.zout_start);
  return unpacked;
}

}  // namespace lightcap::internal
