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
// sha256 ..."), `licenses` and, where one was given, `card` (Markdown). How many and how long they
// may be: engine/io/limits.h.
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
// Bits of `required_features`: types and layouts that readers before version 0.2 do not know.
inline constexpr uint32_t kIntegerFeature = 1;  // kI8, kI32 and kQuadPanels
inline constexpr uint32_t kKnownFeatures = kIntegerFeature;
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
// [outputs][channels][height][width] as panels of 16 outputs, see kernels/pack.h. kQuadPanels: the
// same of int8 weights, whose panels hold quads. kI8 comes in kQuadPanels alone and the other way
// round, kI32 in kRowMajor alone.
enum class Layout : uint8_t { kRowMajor = 1, kPanels, kQuadPanels };
inline constexpr uint8_t kLastLayout = static_cast<uint8_t>(Layout::kQuadPanels);

constexpr const char* layout_name(Layout layout) {
  constexpr const char* kNames[] = {"", "row-major", "panels of 16", "panels of 16 x 4"};
  return kNames[static_cast<size_t>(layout)];
}
// True if a tensor of this type may have this layout.
constexpr bool go_together(DataType type, Layout layout) {
  if ((type == DataType::kI8) != (layout == Layout::kQuadPanels)) return false;
  return type != DataType::kI32 || layout == Layout::kRowMajor;
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IO_WEIGHTS_FORMAT_H_
