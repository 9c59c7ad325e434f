// The .lcw weights file, version 1. Little-endian; nothing in it is code.
//
//   header        64 bytes, struct WeightsHeader
//   key-values    `key_value_count` times, packed one after the other:
//                   u32 length, key (ASCII, a-z 0-9 _ and .), u8 ValueType, value:
//                     kUint    u64                      kDouble   IEEE f64
//                     kString  u32 length, UTF-8        kStrings  u32 count, then that many kString
//                     values kDoubles u32 count, then that many f64
//   directory     `tensor_count` times, packed:
//                   u32 length, name (ASCII), u8 DataType, u8 Layout, u8 ndim (1 to 4),
//                   ndim x u64 logical dimensions (outermost first, each at least 1),
//                   u64 offset (from the file's first byte, a multiple of 64), u64 bytes, u32 crc32
//   data          each tensor at its offset, in the directory's order, gaps filled with zeros
//
// Metadata is what stands between header and data: key-values and directory. Its CRC-32 (zlib's) is
// in the header, and the header's own CRC-32 covers its first 52 bytes, so a flipped bit anywhere
// outside the tensors is an error on opening; tensors have a CRC-32 each, checked by `lightcap
// inspect --verify`.
//
// Compatibility: `version` changes only when an older reader could not parse the file. A reader
// refuses bits of `required_features` that it doesn't know, and ignores keys and tensors that it
// doesn't know; where a key is younger than the format, models/config.h says what its absence
// means. Key-values hold the graph's configuration (models/config.h), `vocabulary` (WordPiece, in
// id order), `labels` (of the concept vocabulary's rows), `producer`, `sources` ("role: file name,
// sha256 ...") and `licenses`. How many and how long they may be: engine/io/limits.h.
#ifndef LIGHTCAP_ENGINE_IO_WEIGHTS_FORMAT_H_
#define LIGHTCAP_ENGINE_IO_WEIGHTS_FORMAT_H_

#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/data_type.h"

namespace lightcap::internal {

static_assert(std::endian::native == std::endian::little, "weights files are mapped as they are");

// "\r\n" and 0x1a show where a transfer in text mode damaged the file.
inline constexpr char kWeightsMagic[8] = {'L', 'C', 'W', '\r', '\n', '\x1a', '\n', '\0'};
inline constexpr uint32_t kWeightsVersion = 1;
inline constexpr uint32_t kKnownFeatures = 0;
inline constexpr size_t kWeightsAlignment = 64;
inline constexpr size_t kMaxTensorDims = 4;

struct WeightsHeader {
  char magic[8];
  uint32_t version;
  uint32_t required_features;
  uint64_t file_bytes;
  uint64_t metadata_bytes;
  uint32_t key_value_count;
  uint32_t tensor_count;
  uint64_t data_offset;  // a multiple of 64, at least 64 + metadata_bytes
  uint32_t metadata_crc32;
  uint32_t header_crc32;  // of the bytes before it
  uint64_t reserved;      // 0
};
static_assert(sizeof(WeightsHeader) == 64);
static_assert(offsetof(WeightsHeader, header_crc32) == 52);

enum class ValueType : uint8_t { kUint = 1, kDouble, kString, kStrings, kDoubles };

// kRowMajor: as in PyTorch. kPanels: a matrix [outputs][depth] or a convolution's weights
// [outputs][channels][height][width] as panels of 16 outputs, see kernels/pack.h.
enum class Layout : uint8_t { kRowMajor = 1, kPanels };
constexpr const char* layout_name(Layout layout) {
  return layout == Layout::kRowMajor ? "row-major" : "panels of 16";
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IO_WEIGHTS_FORMAT_H_
