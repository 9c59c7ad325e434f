// The input is the pickle of a sound archive that has one storage, called 0.
#include "tests/checkpoint_files.h"
#include "tests/fuzz/fuzz_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using lightcap::testing::zip;
  lightcap::read_everything(
      zip({{"a/data.pkl", lightcap::to_file(data, size)}, {"a/data/0", std::string(256, '\x3f')}}));
  return 0;
}
