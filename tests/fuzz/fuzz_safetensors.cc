// A safetensors header and its data: the length in front of the header is always right.
#include "tests/checkpoint_files.h"
#include "tests/fuzz/fuzz_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input = lightcap::internal::to_file(data, size);
  const size_t end = input.find('\0');
  const size_t header = end == std::string::npos ? size : end;
  lightcap::internal::read_everything(
      lightcap::internal::testing::safetensors(input.substr(0, header), input.substr(header)));
  return 0;
}
