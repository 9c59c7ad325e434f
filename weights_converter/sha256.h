// SHA-256 (FIPS 180-4), for the provenance that a weights file records.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_

#include <cstdint>
#include <span>
#include <string>

namespace lightcap {

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const uint8_t> bytes);
// The same for a file's bytes, read piece by piece. Throws Error(kCheckpoint).
std::string sha256_of_file(const std::string& path);

}  // namespace lightcap

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_
