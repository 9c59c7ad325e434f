// Files of any kind, recognised by their content.
#include "tests/fuzz/fuzz_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lightcap::internal::read_everything(lightcap::internal::to_file(data, size));
  return 0;
}
