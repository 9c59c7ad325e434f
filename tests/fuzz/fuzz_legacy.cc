// What follows the magic number of a legacy stream.
#include "tests/fuzz/fuzz_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
  lightcap::read_everything(magic + lightcap::to_file(data, size));
  return 0;
}
