// SHA-256 (FIPS 180-4), for the provenance that a weights file records.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_

#include <cstdint>
#include <span>
#include <string>

namespace lightcap {

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const uint8_t> bytes);

}  // namespace lightcap

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_
