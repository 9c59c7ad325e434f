// The steps that all checkpoint fuzzers share: reading a file within limits.
#ifndef LIGHTCAP_TESTS_FUZZ_FUZZ_CHECKPOINT_H_
#define LIGHTCAP_TESTS_FUZZ_FUZZ_CHECKPOINT_H_

#include <cstdint>
#include <span>
#include <string>

#include "engine/runtime/error.h"
#include "tests/fuzz/limits.h"
#include "weights_converter/state_dict.h"

namespace lightcap::internal {

inline std::string to_file(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Opens the file, reads the small tensors and looks for every part of the model. Any
// Error is fine; anything else is a finding, and so is more memory or time than the file's size
// allows with a budget as low as this.
inline void read_everything(const std::string& file) {
  constexpr uint64_t kSmall = 1 << 14;  // reading larger ones finds nothing more, slowly
  constexpr uint64_t kBudget = 1 << 20;
  constexpr size_t kBase = 8 << 20, kFactor = 40;
  constexpr double kSeconds = 2;
  const fuzz::InputLimits limits(file.size(), kBase, kFactor, kSeconds);
  try {
    const Checkpoint checkpoint = read_checkpoint(
        {reinterpret_cast<const uint8_t*>(file.data()), file.size()}, "/nonexistent/file", kBudget);
    for (const auto* tensors : {&checkpoint.tensors, &checkpoint.attribute_tensors}) {
      for (const CheckpointTensor& tensor : *tensors) {
        if (tensor.elements() > kSmall) continue;
        try {
          checkpoint.read_as_f32(tensor);
          checkpoint.read_bytes(tensor, [](std::span<const uint8_t>) {});
        } catch (const Error&) {
        }
      }
    }
    for (const Role role : {Role::kImageEncoder, Role::kDetector, Role::kBert, Role::kLightcap}) {
      try {
        find_state_dict(checkpoint, role);
      } catch (const Error&) {
      }
    }
  } catch (const Error&) {
  }
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_TESTS_FUZZ_FUZZ_CHECKPOINT_H_
