// Zip archives: whatever the input is, it begins like one.
#include "tests/fuzz/fuzz_checkpoint.h"
#include "tests/fuzz/mutate_zip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file = lightcap::internal::to_file(data, size);
  if (size >= 4) file.replace(0, 4, "PK\x03\x04");
  lightcap::internal::read_everything(file);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace lightcap::internal::fuzz;
  Random random(seed);
  if (!random.one_in(4)) {
    const std::string made = mutate_zip(lightcap::internal::to_file(data, size), random, max_size);
    if (!made.empty()) return give_back(made, data, size, max_size);
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
