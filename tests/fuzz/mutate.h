// Parts that the custom mutators share: a small random generator and edits of strings.
#ifndef LIGHTCAP_TESTS_FUZZ_MUTATE_H_
#define LIGHTCAP_TESTS_FUZZ_MUTATE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

// libFuzzer's own: changes the `size` bytes of `data` in place, to `max_size` at most, and returns
// their new number.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace lightcap::internal::fuzz {

// A mutation is a function of its seed alone, as libFuzzer asks.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) { next(); }
  // From 0 to `count` - 1; 0 for a count of 0.
  size_t below(size_t count) { return count == 0 ? 0 : static_cast<size_t>(next() % count); }
  bool one_in(size_t count) { return below(count) == 0; }
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545F4914F6CDD1D;
  }

 private:
  uint64_t state_;
};

// Any edit that libFuzzer knows, which grows the text by 64 bytes at most.
inline void mutate_bytes(std::string& text) {
  constexpr size_t kGrowth = 64;
  const size_t size = text.size();
  text.resize(size + kGrowth);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, text.size()));
}

// Copies `made` to where libFuzzer wants it. Text that does not fit leaves the input as it was.
inline size_t give_back(const std::string& made, uint8_t* data, size_t size, size_t max_size) {
  if (made.empty() || made.size() > max_size) return size;
  std::memcpy(data, made.data(), made.size());
  return made.size();
}

}  // namespace lightcap::internal::fuzz

#endif  // LIGHTCAP_TESTS_FUZZ_MUTATE_H_
