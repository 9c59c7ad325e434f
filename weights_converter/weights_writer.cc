#include "weights_converter/weights_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "engine/io/crc32.h"
#include "engine/io/output_file.h"
#include "engine/io/weights_file.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
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
    const auto has_integers = [](const PlannedTensor& tensor) { return !is_float(tensor.type); };
    if (std::any_of(plan.tensors.begin(), plan.tensors.end(), has_integers))
      header.required_features = kIntegerFeature;
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

  // Each returns the CRC-32 of the bytes.
  uint32_t encode(const PlannedTensor& tensor, std::span<const float> values) {
    crc_ = 0;
    if (tensor.layout == Layout::kRowMajor) {
      emit(tensor, values);
    } else {
      panel_.resize(depth(tensor) * kPanelWidth);
      for_each_panel(tensor, [&](size_t output, size_t count) {
        pack_conv_panels(values.data() + output * depth(tensor), count, dim(tensor, 1),
                         dim(tensor, 2), dim(tensor, 3), panel_.data());
        emit(tensor, panel_);
      });
    }
    return crc_;
  }
  uint32_t encode(const PlannedTensor& tensor, std::span<const int8_t> values) {
    crc_ = 0;
    quads_.resize(panel_elements(kPanelWidth, depth(tensor), DataType::kI8));
    for_each_panel(tensor, [&](size_t output, size_t count) {
      pack_quad_panels(values.data() + output * depth(tensor), count, dim(tensor, 1),
                       dim(tensor, 2) * dim(tensor, 3), quads_.data());
      put(std::as_bytes(std::span(quads_)));
    });
    return crc_;
  }
  uint32_t encode(const PlannedTensor&, std::span<const int32_t> values) {
    crc_ = 0;
    put(std::as_bytes(values));
    return crc_;
  }

 private:
  static size_t dim(const PlannedTensor& tensor, size_t i) {
    return i < tensor.dims.size() ? tensor.dims[i] : 1;
  }
  static size_t depth(const PlannedTensor& tensor) {
    return dim(tensor, 1) * dim(tensor, 2) * dim(tensor, 3);
  }
  template <class F>
  static void for_each_panel(const PlannedTensor& tensor, F&& f) {
    const size_t outputs = dim(tensor, 0);
    for (size_t output = 0; output < outputs; output += kPanelWidth)
      f(output, std::min(kPanelWidth, outputs - output));
  }

  void emit(const PlannedTensor& tensor, std::span<const float> values) {
    if (tensor.type == DataType::kF32) {
      put(std::as_bytes(values));
      return;
    }
    const size_t size = data_type_bytes(tensor.type);
    narrow_.resize(values.size() * size);
    for (size_t i = 0; i < values.size(); ++i) {
      const uint32_t bits = float_bits(tensor.type, values[i]);
      std::memcpy(narrow_.data() + i * size, &bits, size);
      if (!std::isinf(widened(narrow_.data(), tensor.type, i)) || std::isinf(values[i])) continue;
      throw Error(ErrorCode::kCheckpoint, "the tensor " + tensor.name + " holds " +
                                              std::to_string(values[i]) + ", too large for " +
                                              data_type_name(tensor.type) + "; use --dtype f32");
    }
    put(std::as_bytes(std::span(narrow_)));
  }
  void put(std::span<const std::byte> bytes) {
    crc_ = crc32(bytes.data(), bytes.size(), crc_);
    consume_({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  }

  Consume consume_;
  uint32_t crc_ = 0;
  std::vector<float> panel_;
  std::vector<uint8_t> narrow_;
  std::vector<int8_t> quads_;
};

// Asks for a tensor's values, whose memory is used again and again, and encodes them.
class TensorSource {
 public:
  TensorSource(const FillTensor& fill, TensorEncoder::Consume consume)
      : fill_(fill), encoder_(std::move(consume)) {}

  uint32_t encode(const PlannedTensor& tensor, size_t index) {
    if (tensor.type == DataType::kI8) return encode(tensor, index, bytes_);
    if (tensor.type == DataType::kI32) return encode(tensor, index, integers_);
    return encode(tensor, index, floats_);
  }

 private:
  template <class Number>
  uint32_t encode(const PlannedTensor& tensor, size_t index, std::vector<Number>& values) {
    values.resize(tensor.elements());
    fill_(index, std::span(values));
    return encoder_.encode(tensor, std::span<const Number>(values));
  }

  const FillTensor& fill_;
  TensorEncoder encoder_;
  std::vector<float> floats_;
  std::vector<int8_t> bytes_;
  std::vector<int32_t> integers_;
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
  TensorSource source(fill, append);
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    pad_to(places.offsets[i]);
    crcs.push_back(source.encode(plan.tensors[i], i));
    position += stored_bytes(plan.tensors[i]);
    written += stored_bytes(plan.tensors[i]);
    if (progress) progress(written);
  }
  return places.front(plan, crcs);
}

}  // namespace

decltype(PlannedKeyValue::value) owned_value(const Value& value) {
  using Owned = decltype(PlannedKeyValue::value);
  struct Copy {
    Owned operator()(uint64_t number) const { return number; }
    Owned operator()(double number) const { return number; }
    Owned operator()(std::string_view text) const { return std::string(text); }
    Owned operator()(const std::vector<std::string_view>& texts) const {
      return std::vector<std::string>(texts.begin(), texts.end());
    }
    Owned operator()(const std::vector<double>& numbers) const { return numbers; }
  };
  return std::visit(Copy{}, value);
}

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
  file.reserve(Places(plan).file_bytes);
  const auto append = [&](std::span<const uint8_t> bytes) {
    file.insert(file.end(), bytes.begin(), bytes.end());
  };
  const std::vector<uint8_t> front = write_data(plan, fill, append, {});
  std::copy(front.begin(), front.end(), file.begin());
  return file;
}

uint32_t float_bits(DataType type, float value) {
  if (type == DataType::kF16) return to_f16(value);
  if (type == DataType::kBf16) return to_bf16(value);
  return std::bit_cast<uint32_t>(value);
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
