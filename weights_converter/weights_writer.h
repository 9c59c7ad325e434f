// Writing .lcw files. See engine/io/weights_format.h for the format.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_WEIGHTS_WRITER_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_WEIGHTS_WRITER_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "engine/io/weights_file.h"
#include "engine/io/weights_format.h"

namespace lightcap::internal {

struct PlannedKeyValue {
  std::string key;
  std::variant<uint64_t, double, std::string, std::vector<std::string>, std::vector<double>> value;
};

// A file's value as a plan has it.
decltype(PlannedKeyValue::value) owned_value(const Value& value);

struct PlannedTensor {
  std::string name;
  DataType type = DataType::kF32;
  Layout layout = Layout::kRowMajor;
  std::vector<uint64_t> dims;  // as in a checkpoint

  uint64_t elements() const;
};

// Everything in a file but the tensors' values.
struct WeightsPlan {
  std::vector<PlannedKeyValue> key_values;
  std::vector<PlannedTensor> tensors;

  // The bytes that all tensors take in the file. Throws Error(kCheckpoint) for one that is empty or
  // too large.
  uint64_t tensor_bytes() const;
};

// The place for a tensor's values, row-major as in a checkpoint: floats where the writer rounds
// them to the tensor's type, or the very integers of a type of such.
class TensorValues {
 public:
  TensorValues(std::span<float> values) : values_(values) {}
  TensorValues(std::span<int8_t> values) : values_(values) {}
  TensorValues(std::span<int32_t> values) : values_(values) {}

  // Each throws std::bad_variant_access for values of another type.
  std::span<float> floats() const { return std::get<std::span<float>>(values_); }
  std::span<int8_t> bytes() const { return std::get<std::span<int8_t>>(values_); }
  std::span<int32_t> integers() const { return std::get<std::span<int32_t>>(values_); }
  // Most models have floats alone, and functions that fill nothing else.
  operator std::span<float>() const { return floats(); }

 private:
  std::variant<std::span<float>, std::span<int8_t>, std::span<int32_t>> values_;
};

// Gives the values of tensor `index`; `out` has elements() of them.
using FillTensor = std::function<void(size_t index, const TensorValues& out)>;
// Called after each tensor with the bytes of tensors written so far.
using WriteProgress = std::function<void(uint64_t written)>;

// Writes tensor after tensor, so that no more than one is in memory. The file appears under `path`
// complete or not at all: it is written beside it under a temporary name and renamed. Throws
// Error(kOutput) where it cannot be written, and Error(kCheckpoint) for values that a tensor's type
// cannot hold; whatever throws, an earlier file at `path` is as it was. Returns the file's size.
uint64_t write_weights(const WeightsPlan& plan, const FillTensor& fill, const std::string& path,
                       const WriteProgress& progress = {});

// The same in memory.
std::vector<uint8_t> weights_in_memory(const WeightsPlan& plan, const FillTensor& fill);

// Round to nearest, ties to even; too large becomes infinity, NaN stays NaN.
uint16_t to_f16(float value);
uint16_t to_bf16(float value);
// The bits of `value` as a number of this type of floats, which narrow ones round like these.
uint32_t float_bits(DataType type, float value);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_WEIGHTS_WRITER_H_
