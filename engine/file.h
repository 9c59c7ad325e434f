// Whole files as bytes.
#ifndef LIGHTCAP_ENGINE_FILE_H_
#define LIGHTCAP_ENGINE_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/error.h"

namespace lightcap {

// Throws Error(code) naming the path where the file is missing, no regular file, unreadable or
// larger than max_bytes.
std::vector<uint8_t> read_file(const std::string& path, ErrorCode code,
                               size_t max_bytes = size_t{1} << 30);

}  // namespace lightcap

#endif  // LIGHTCAP_ENGINE_FILE_H_
