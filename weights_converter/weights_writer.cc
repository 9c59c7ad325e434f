#include "weights_converter/weights_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "engine/io/crc32.h"
#include "engine/io/output_file.h"
#include "engine/io/weights_file.h"
#include "engine/runtime/error.h"
#include "kernels/pack.h"

namespace lightcap::internal {
namespace {

// The metadata's bytes, little-endian as the processor is (weights_format.h asserts it).
class Encoder {
 public:
  template <class Number>
  void number(Number value) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof value);
  }
  void string(const std::string& text) {
    number(length(text.size()));
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  void key_value(const PlannedKeyValue& pair) {
    string(pair.key);
    std::visit([this](const auto& value) { this->value(value); }, pair.value);
  }
  void tensor(const PlannedTensor& tensor, uint64_t offset, uint64_t bytes, uint32_t crc) {
    string(tensor.name);
    number(static_cast<uint8_t>(tensor.type));
    number(static_cast<uint8_t>(tensor.layout));
    number(static_cast<uint8_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) number(dim);
    number(offset);
    number(bytes);
    number(crc);
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  static uint32_t length(size_t size) {
    if (size > UINT32_MAX) throw Error(ErrorCode::kCheckpoint, "a text or list is too long");
    return static_cast<uint32_t>(size);
  }
  void type(ValueType type) { number(static_cast<uint8_t>(type)); }
  void value(uint64_t value) {
    type(ValueType::kUint);
    number(value);
  }
  void value(double value) {
    type(ValueType::kDouble);
    number(value);
  }
  void value(const std::string& value) {
    type(ValueType::kString);
    string(value);
  }
  void value(const std::vector<std::string>& values) {
    type(ValueType::kStrings);
    number(length(values.size()));
    for (const std::string& text : values) string(text);
  }
  void value(const std::vector<double>& values) {
    type(ValueType::kDoubles);
    number(length(values.size()));
    for (const double one : values) number(one);
  }

  std::vector<uint8_t> bytes_;
};

uint64_t stored_bytes(const PlannedTensor& tensor) {
  const uint64_t bytes = tensor_bytes(tensor.type, tensor.layout, tensor.dims);
  if (bytes == 0 || tensor.dims.size() > kMaxTensorDims) {
    throw Error(ErrorCode::kCheckpoint, "the tensor " + tensor.name + " " + dims_text(tensor.dims) +
                                            " is empty or too large for a weights file");
  }
  return bytes;
}

uint64_t align(uint64_t offset) {
  return (offset + kWeightsAlignment - 1) / kWeightsAlignment * kWeightsAlignment;
}

// The offset of each tensor in the file.
struct Places {
  uint64_t data_offset = 0;
  uint64_t file_bytes = 0;
  std::vector<uint64_t> offsets;

  explicit Places(const WeightsPlan& plan) : offsets(plan.tensors.size()) {
    // The metadata's length depends neither on offsets nor on checksums.
    data_offset = align(front(plan, std::vector<uint32_t>(plan.tensors.size())).size());
    file_bytes = data_offset;
    for (size_t i = 0; i < offsets.size(); ++i) {
      offsets[i] = align(file_bytes);
      file_bytes = offsets[i] + stored_bytes(plan.tensors[i]);
    }
  }

  // Header, key-values and directory.
  std::vector<uint8_t> front(const WeightsPlan& plan, const std::vector<uint32_t>& crcs) const {
    Encoder metadata;
    for (const PlannedKeyValue& pair : plan.key_values) metadata.key_value(pair);
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
      metadata.tensor(plan.tensors[i], offsets[i], stored_bytes(plan.tensors[i]), crcs[i]);
    }
    WeightsHeader header = {};
    std::memcpy(header.magic, kWeightsMagic, sizeof header.magic);
    header.version = kWeightsVersion;
    header.file_bytes = file_bytes;
    header.metadata_bytes = metadata.bytes().size();
    header.key_value_count = static_cast<uint32_t>(plan.key_values.size());
    header.tensor_count = static_cast<uint32_t>(plan.tensors.size());
    header.data_offset = data_offset;
    header.metadata_crc32 = crc32(metadata.bytes().data(), metadata.bytes().size());
    header.header_crc32 = crc32(&header, offsetof(WeightsHeader, header_crc32));
    std::vector<uint8_t> bytes(sizeof header + metadata.bytes().size());
    std::memcpy(bytes.data(), &header, sizeof header);
    std::copy(metadata.bytes().begin(), metadata.bytes().end(), bytes.begin() + sizeof header);
    return bytes;
  }
};

// Turns one tensor after the other into the file's bytes.
class TensorEncoder {
 public:
  using Consume = std::function<void(std::span<const uint8_t>)>;

  explicit TensorEncoder(Consume consume) : consume_(std::move(consume)) {}

  // Returns the CRC-32 of the bytes.
  uint32_t encode(const PlannedTensor& tensor, std::span<const float> values) {
    crc_ = 0;
    if (tensor.layout == Layout::kRowMajor) {
      emit(tensor, values);
      return crc_;
    }
    const auto dim = [&](size_t i) { return i < tensor.dims.size() ? tensor.dims[i] : 1; };
    const size_t depth = dim(1) * dim(2) * dim(3);
    panel_.resize(depth * kPanelWidth);
    for (size_t output = 0; output < dim(0); output += kPanelWidth) {
      const size_t count = std::min<size_t>(kPanelWidth, dim(0) - output);
      pack_conv_panels(values.data() + output * depth, count, dim(1), dim(2), dim(3),
                       panel_.data());
      emit(tensor, panel_);
    }
    return crc_;
  }

 private:
  void emit(const PlannedTensor& tensor, std::span<const float> values) {
    if (tensor.type == DataType::kF32) {
      put({reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()});
      return;
    }
    halves_.resize(values.size());
    const auto round = tensor.type == DataType::kF16 ? to_f16 : to_bf16;
    const uint16_t infinity = tensor.type == DataType::kF16 ? 0x7c00 : 0x7f80;
    for (size_t i = 0; i < values.size(); ++i) {
      halves_[i] = round(values[i]);
      if ((halves_[i] & 0x7fff) != infinity || std::isinf(values[i])) continue;
      throw Error(ErrorCode::kCheckpoint, "the tensor " + tensor.name + " holds " +
                                              std::to_string(values[i]) + ", too large for " +
                                              data_type_name(tensor.type) + "; use --dtype f32");
    }
    put({reinterpret_cast<const uint8_t*>(halves_.data()), halves_.size() * sizeof(uint16_t)});
  }
  void put(std::span<const uint8_t> bytes) {
    crc_ = crc32(bytes.data(), bytes.size(), crc_);
    consume_(bytes);
  }

  Consume consume_;
  uint32_t crc_ = 0;
  std::vector<float> panel_;
  std::vector<uint16_t> halves_;
};

// Emits all bytes from the beginning to the end, zeros where header, key-values and directory
// belong; returns those.
std::vector<uint8_t> write_data(const WeightsPlan& plan, const FillTensor& fill,
                                const TensorEncoder::Consume& append,
                                const WriteProgress& progress) {
  const Places places(plan);
  const std::vector<uint8_t> zeros(kWeightsAlignment);
  uint64_t position = 0;
  const auto pad_to = [&](uint64_t offset) {
    while (position < offset) {
      const uint64_t count = std::min<uint64_t>(offset - position, zeros.size());
      append({zeros.data(), static_cast<size_t>(count)});
      position += count;
    }
  };
  pad_to(places.data_offset);
  uint64_t written = 0;
  std::vector<uint32_t> crcs;
  std::vector<float> values;
  TensorEncoder encoder(append);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    pad_to(places.offsets[i]);
    values.resize(plan.tensors[i].elements());
    fill(i, values);
    crcs.push_back(encoder.encode(plan.tensors[i], values));
    position += stored_bytes(plan.tensors[i]);
    written += stored_bytes(plan.tensors[i]);
    if (progress) progress(written);
  }
  return places.front(plan, crcs);
}

}  // namespace

uint64_t PlannedTensor::elements() const {
  uint64_t count = 1;
  for (const uint64_t dim : dims) count *= dim;
  return count;
}

uint64_t WeightsPlan::tensor_bytes() const {
  uint64_t total = 0;
  for (const PlannedTensor& tensor : tensors) total += stored_bytes(tensor);
  return total;
}

uint64_t write_weights(const WeightsPlan& plan, const FillTensor& fill, const std::string& path,
                       const WriteProgress& progress) {
  const uint64_t planned = Places(plan).file_bytes;
  OutputFile file(path);
  file.reserve(planned);
  uint64_t size = 0;
  const auto append = [&](std::span<const uint8_t> bytes) {
    file.append(bytes);
    size += bytes.size();
  };
  file.write_at(0, write_data(plan, fill, append, progress));
  file.publish();
  return size;
}

std::vector<uint8_t> weights_in_memory(const WeightsPlan& plan, const FillTensor& fill) {
  std::vector<uint8_t> file;
  const auto append = [&](std::span<const uint8_t> bytes) {
    file.insert(file.end(), bytes.begin(), bytes.end());
  };
  const std::vector<uint8_t> front = write_data(plan, fill, append, {});
  std::copy(front.begin(), front.end(), file.begin());
  return file;
}

uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);  // stays a NaN when cut
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  uint32_t half;
  if (magnitude > 0x7f800000) {
    half = 0x7e00;
  } else if (magnitude >= 0x47800000) {  // 65536
    half = 0x7c00;
  } else if (magnitude < 0x38800000) {  // below 2^-14, the smallest normal number
    // Adding 0.5 makes the processor round at the weight of a half's last bit, 2^-24.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000;
  } else {
    // The exponent's bias goes from 127 to 15; a carry of the rounding goes where it should, to
    // infinity from 65520 on.
    half = (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace lightcap::internal
