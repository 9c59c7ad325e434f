#include "engine/io/crc32.h"

#include <array>

namespace lightcap::internal {
namespace {

// kTables[k][b] is the CRC of byte b followed by k zero bytes, so sixteen bytes go through sixteen
// independent lookups at once ("slicing by 16").
using Tables = std::array<std::array<uint32_t, 256>, 16>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xFF];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

uint32_t load_little_endian(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8 |
         static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[3]) << 24;
}

// The four bytes of `word`, of which the last is followed by `k` more in the block.
uint32_t slice(uint32_t word, size_t k) {
  return kTables[k + 3][word & 0xFF] ^ kTables[k + 2][(word >> 8) & 0xFF] ^
         kTables[k + 1][(word >> 16) & 0xFF] ^ kTables[k][word >> 24];
}

}  // namespace

uint32_t crc32(const void* data, size_t size, uint32_t crc) {
  const uint8_t* bytes = static_cast<const uint8_t*>(data);
  crc = ~crc;
  for (; size >= 16; size -= 16, bytes += 16) {
    crc = slice(load_little_endian(bytes) ^ crc, 12) ^ slice(load_little_endian(bytes + 4), 8) ^
          slice(load_little_endian(bytes + 8), 4) ^ slice(load_little_endian(bytes + 12), 0);
  }
  for (; size > 0; --size, ++bytes) crc = (crc >> 8) ^ kTables[0][(crc ^ *bytes) & 0xFF];
  return ~crc;
}

}  // namespace lightcap::internal
