// Legacy streams behind their magic number: pickles one after the other, and storages.
#include "tests/fuzz/fuzz_checkpoint.h"
#include "tests/fuzz/mutate_pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
  lightcap::internal::read_everything(magic + lightcap::internal::to_file(data, size));
  return 0;
}

// Changes one of the pickles; what follows the last of them stays as it is.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace lightcap::internal::fuzz;
  Random random(seed);
  if (random.one_in(4)) return LLVMFuzzerMutate(data, size, max_size);
  constexpr size_t kPickles = 4;
  const std::string file = lightcap::internal::to_file(data, size);
  const size_t chosen = random.below(kPickles);
  std::string made;
  size_t begin = 0;
  for (size_t i = 0; i < kPickles; ++i) {
    size_t end = begin;
    while (end < file.size() && file[end] != '.') {
      end += std::max<size_t>(operation_size(std::string_view(file).substr(end)), 1);
    }
    if (end >= file.size()) break;
    const std::string pickle = file.substr(begin, end + 1 - begin);
    made += i == chosen ? mutate_pickle(pickle, random, max_size) : pickle;
    begin = end + 1;
  }
  return give_back(made + file.substr(begin), data, size, max_size);
}
