// Zip archives: whatever the input is, it begins like one.
#include "tests/fuzz/fuzz_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file = lightcap::to_file(data, size);
  if (size >= 4) file.replace(0, 4, "PK\x03\x04");
  lightcap::read_everything(file);
  return 0;
}
