// `lightcap-convert --list`: every tensor of a checkpoint.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_LIST_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_LIST_H_

#include <string>

#include "weights_converter/checkpoint/checkpoint.h"

namespace lightcap::internal {

enum class ListStyle { kTable, kJson };

// Name, type, shape, CRC-32 (zlib's) of the values row-major and little-endian, and the name of an
// earlier tensor that is the same memory. kJson: an array of objects with the keys `name`, `dtype`,
// `shape`, `crc32` (a number) and, where there is one, `same_as`. Ends with a newline. Throws
// Error(kCheckpoint) for tensors that cannot be read, naming the first.
std::string list_tensors(const Checkpoint& checkpoint, ListStyle style);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_LIST_H_
