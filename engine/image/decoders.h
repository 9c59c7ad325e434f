// The decoders of the single formats, and what they share. For engine/image/ alone: everyone else
// calls decode_image.
#ifndef LIGHTCAP_ENGINE_IMAGE_DECODERS_H_
#define LIGHTCAP_ENGINE_IMAGE_DECODERS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/image/image.h"
#include "engine/image/stb.h"

namespace lightcap::internal {

// An encoded picture, and what holds for it.
struct EncodedImage {
  const uint8_t* data;
  size_t size;
  const ImageLimits& limits;
  const std::string& source;  // names it in messages
  const ImageUse& use;

  // Throws Error(kInput): "SOURCE: what".
  [[noreturn]] void refuse(const std::string& what) const;
  // The same for what stb_image did not decode, whose memory was limited. `format` names it.
  [[noreturn]] void refuse_undecoded(const char* format, uint64_t memory_limit,
                                     const StbFailure& failure) const;
  // Refuses sizes of no pixels and sizes over the limits, which the message names.
  void check_size(uint64_t width, uint64_t height) const;

  // Numbers at an offset that the caller has checked.
  uint32_t big_endian_u16(size_t at) const;
  uint32_t big_endian_u32(size_t at) const;
  uint32_t little_endian_u16(size_t at) const;
  uint32_t little_endian_u32(size_t at) const;
};

// Each throws Error(kInput) for what is damaged, over a limit or of a kind that is not supported,
// and std::bad_alloc.
Image decode_jpeg(const EncodedImage& file);
Image decode_png(const EncodedImage& file);
Image decode_bmp(const EncodedImage& file);
Image decode_pnm(const EncodedImage& file);

// Memory for width * height pixels. Throws std::bad_alloc.
Image blank_image(size_t width, size_t height);

// [data, data + size) with `removed` bytes at `at` replaced by `inserted`.
std::vector<uint8_t> spliced(const uint8_t* data, size_t size, size_t at, size_t removed,
                             const std::vector<uint8_t>& inserted);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_DECODERS_H_
