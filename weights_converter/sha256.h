// SHA-256 (FIPS 180-4), for the provenance that a weights file records.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lightcap::internal {

class MappedFile;

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const uint8_t> bytes);
// The same for the bytes of an open file, read piece by piece. Throws Error(kCheckpoint) where they
// cannot be read.
std::string sha256_of_file(const MappedFile& file);
// Hashes many files, on as many threads as are useful and can be had.
std::vector<std::string> sha256_of_files(std::span<const MappedFile* const> files);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_SHA256_H_
