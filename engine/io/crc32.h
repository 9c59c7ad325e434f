// CRC-32 as zlib, zip and PNG have it (polynomial 0xEDB88320, reflected).
#ifndef LIGHTCAP_ENGINE_IO_CRC32_H_
#define LIGHTCAP_ENGINE_IO_CRC32_H_

#include <cstddef>
#include <cstdint>

namespace lightcap::internal {

// Continues from `crc`, the result for the bytes before; 0 at the start.
uint32_t crc32(const void* data, size_t size, uint32_t crc = 0);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IO_CRC32_H_
