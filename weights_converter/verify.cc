#include "weights_converter/verify.h"

#include <cstring>

#include "engine/io/crc32.h"
#include "engine/io/weights_file.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "kernels/kernels.h"

namespace lightcap::internal {
namespace {

uint32_t bits_at(DataType type, const uint8_t* data, size_t index) {
  uint32_t bits = 0;
  const size_t size = data_type_bytes(type);
  std::memcpy(&bits, data + index * size, size);
  return bits;
}

// The index in panels of each element of a convolution's weights (or a matrix: taps = 1), written
// independently of the packing code.
struct Panels {
  size_t outputs, channels, taps;

  explicit Panels(const PlannedTensor& tensor)
      : outputs(tensor.dims[0]), channels(tensor.dims[1]), taps(1) {
    for (size_t i = 2; i < tensor.dims.size(); ++i) taps *= tensor.dims[i];
  }
  size_t depth() const { return channels * taps; }
  size_t place(size_t output, size_t channel, size_t tap) const {
    const size_t row = output / kPanelWidth * depth() + tap * channels + channel;
    return row * kPanelWidth + output % kPanelWidth;
  }
};

// The number of differences.
size_t compare(const PlannedTensor& tensor, std::span<const float> values, const uint8_t* data) {
  size_t different = 0;
  const auto check = [&](float value, size_t place) {
    if (bits_at(tensor.type, data, place) != float_bits(tensor.type, value)) ++different;
  };
  if (tensor.layout == Layout::kRowMajor) {
    for (size_t i = 0; i < values.size(); ++i) check(values[i], i);
    return different;
  }
  const Panels panels(tensor);
  const float* value = values.data();
  for (size_t output = 0; output < panels.outputs; ++output) {
    for (size_t channel = 0; channel < panels.channels; ++channel) {
      for (size_t tap = 0; tap < panels.taps; ++tap) {
        check(*value++, panels.place(output, channel, tap));
      }
    }
  }
  for (size_t output = panels.outputs; output % kPanelWidth != 0; ++output) {
    for (size_t i = 0; i < panels.depth(); ++i)
      check(0, panels.place(output, i % panels.channels, i / panels.channels));
  }
  return different;
}

// Lets go of the mapped pages of what has been compared, so that verifying takes no more memory
// than one tensor.
void release(const WeightsFile& file, const TensorEntry& tensor) {
  file.release(file.bytes().data, tensor.offset + tensor.bytes);
}

std::string compare_tensor(const WeightsFile& file, const PlannedTensor& tensor,
                           const TensorEntry& entry, std::span<const float> values) {
  if (entry.type != tensor.type || entry.layout != tensor.layout || entry.dims != tensor.dims) {
    return tensor.name + " has another type, layout or shape";
  }
  if (crc32(file.data(entry), entry.bytes) != entry.crc32) {
    return tensor.name + " does not match its checksum";
  }
  const size_t different = compare(tensor, values, file.data(entry));
  if (different == 0) return "";
  return tensor.name + ": " + std::to_string(different) + " of " + std::to_string(values.size()) +
         " values differ";
}

}  // namespace

void verify_weights(const std::string& path, const WeightsPlan& plan, const FillTensor& fill) {
  const WeightsFile file = WeightsFile::open(path);
  std::string wrong;
  for (const PlannedKeyValue& pair : plan.key_values) {
    const Value* value = file.find_value(pair.key);
    if (value == nullptr || owned_value(*value) != pair.value) wrong += "\n  the key " + pair.key;
  }
  if (file.key_values().size() != plan.key_values.size() ||
      file.tensors().size() != plan.tensors.size()) {
    wrong += "\n  the number of keys or tensors";
  }
  std::vector<float> values;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    const TensorEntry* entry = file.find_tensor(plan.tensors[i].name);
    if (entry == nullptr) {
      wrong += "\n  " + plan.tensors[i].name + " is missing";
      continue;
    }
    values.resize(plan.tensors[i].elements());
    fill(i, std::span(values));
    const std::string difference = compare_tensor(file, plan.tensors[i], *entry, values);
    if (!difference.empty()) wrong += "\n  " + difference;
    release(file, *entry);
  }
  if (!wrong.empty()) {
    throw Error(ErrorCode::kMismatch,
                printable(path) + ": the file is not what was to be written:" + wrong);
  }
}

}  // namespace lightcap::internal
