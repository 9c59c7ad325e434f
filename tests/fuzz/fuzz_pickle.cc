// The input is the pickle of a sound archive that has one storage, called 0.
#include "tests/checkpoint_files.h"
#include "tests/fuzz/fuzz_checkpoint.h"
#include "tests/fuzz/mutate_pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using lightcap::internal::testing::zip;
  lightcap::internal::read_everything(zip({{"a/data.pkl", lightcap::internal::to_file(data, size)},
                                           {"a/data/0", std::string(256, '\x3f')}}));
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace lightcap::internal::fuzz;
  Random random(seed);
  if (random.one_in(4)) return LLVMFuzzerMutate(data, size, max_size);
  return give_back(mutate_pickle(lightcap::internal::to_file(data, size), random, max_size), data,
                   size, max_size);
}
