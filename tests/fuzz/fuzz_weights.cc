// .lcw files: checksums are made right first, or nothing but them would be tested.
#include <cstring>
#include <vector>

#include "engine/io/crc32.h"
#include "engine/runtime/error.h"
#include "models/weights.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lightcap;
  std::vector<uint8_t> bytes(data, data + size);
  WeightsHeader header;
  if (size >= sizeof header) {
    std::memcpy(&header, bytes.data(), sizeof header);
    header.file_bytes = size;
    if (header.metadata_bytes <= size - sizeof header) {
      header.metadata_crc32 = crc32(bytes.data() + sizeof header, header.metadata_bytes);
    }
    header.header_crc32 = crc32(&header, offsetof(WeightsHeader, header_crc32));
    std::memcpy(bytes.data(), &header, sizeof header);
  }
  try {
    const Weights weights(WeightsFile::from_buffer({bytes.data(), bytes.size()}, "fuzz"));
    for (const TensorEntry& tensor : weights.file().tensors()) {
      crc32(weights.file().data(tensor), tensor.bytes);
    }
  } catch (const Error&) {
  }
  return 0;
}
