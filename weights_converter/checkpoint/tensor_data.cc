// Reading tensors' values: strides, byte order, conversion.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/data_type.h"
#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/checkpoint.h"

namespace lightcap::internal {
namespace {

static_assert(std::endian::native == std::endian::little, "values are taken as they are stored");

bool is_contiguous(const CheckpointTensor& tensor) {
  uint64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

// Calls visit(pointer to an element) for all of them in row-major order.
template <class Visit>
void for_each_element(const CheckpointTensor& tensor, const uint8_t* storage, Visit&& visit) {
  if (tensor.elements() == 0) return;
  const size_t width = element_bytes(tensor.type);
  // Without dimensions of size 1: each row would step through all that follow one another.
  std::vector<uint64_t> shape, steps;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] == 1) continue;
    shape.push_back(tensor.shape[i]);
    steps.push_back(tensor.strides[i] * width);
  }
  const size_t dims = shape.size();
  const uint64_t inner = dims == 0 ? 1 : shape.back();
  const uint64_t inner_step = dims == 0 ? 0 : steps.back();
  std::vector<uint64_t> index(dims, 0);
  uint64_t row = tensor.offset;
  while (true) {
    for (uint64_t i = 0; i < inner; ++i) visit(storage + row + i * inner_step);
    // The next row: like an odometer, without the last wheel.
    size_t i = dims < 2 ? 0 : dims - 1;
    while (i > 0) {
      --i;
      row += steps[i];
      if (++index[i] < shape[i]) break;
      row -= steps[i] * shape[i];
      index[i] = 0;
      if (i == 0) return;
    }
    if (dims < 2) return;
  }
}

template <class T>
T load(const uint8_t* bytes, bool swap) {
  uint8_t local[sizeof(T)];
  std::memcpy(local, bytes, sizeof(T));
  if (swap) std::reverse(local, local + sizeof(T));
  return std::bit_cast<T>(local);
}

float from_f64(double value) {
  if (std::isfinite(value) &&
      std::abs(value) > static_cast<double>(std::numeric_limits<float>::max())) {
    fail_checkpoint("the number " + std::to_string(value) + " is beyond float32");
  }
  return static_cast<float>(value);
}

template <class T, class Convert>
void convert_all(const CheckpointTensor& tensor, const Storage& storage, float* out,
                 Convert&& convert) {
  const bool swap = storage.big_endian();
  for_each_element(tensor, storage.bytes().data(),
                   [&](const uint8_t* element) { *out++ = convert(load<T>(element, swap)); });
}

template <class T>
void convert_integers(const CheckpointTensor& tensor, const Storage& storage, float* out) {
  convert_all<T>(tensor, storage, out, [](T value) { return static_cast<float>(value); });
}

void convert(const CheckpointTensor& tensor, const Storage& storage, float* out) {
  switch (tensor.type) {
    case ElementType::kF64:
      return convert_all<double>(tensor, storage, out, from_f64);
    case ElementType::kF32:
      return convert_all<float>(tensor, storage, out, [](float value) { return value; });
    case ElementType::kF16:
      return convert_all<uint16_t>(tensor, storage, out, widen_f16);
    case ElementType::kBf16:
      return convert_all<uint16_t>(tensor, storage, out, widen_bf16);
    case ElementType::kI64:
      return convert_integers<int64_t>(tensor, storage, out);
    case ElementType::kI32:
      return convert_integers<int32_t>(tensor, storage, out);
    case ElementType::kI16:
      return convert_integers<int16_t>(tensor, storage, out);
    case ElementType::kI8:
      return convert_integers<int8_t>(tensor, storage, out);
    case ElementType::kU64:
      return convert_integers<uint64_t>(tensor, storage, out);
    case ElementType::kU32:
      return convert_integers<uint32_t>(tensor, storage, out);
    case ElementType::kU16:
      return convert_integers<uint16_t>(tensor, storage, out);
    case ElementType::kU8:
      return convert_integers<uint8_t>(tensor, storage, out);
    case ElementType::kBool:
      return convert_all<uint8_t>(tensor, storage, out,
                                  [](uint8_t value) { return value != 0 ? 1.0f : 0.0f; });
  }
}

void check_readable(const CheckpointTensor& tensor) {
  if (!tensor.refusal.empty()) {
    fail_checkpoint("it is " + tensor.refusal +
                    ", which cannot be converted; save it as a plain float tensor");
  }
}

template <class Action>
void with_context(const Checkpoint& checkpoint, const CheckpointTensor& tensor, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    throw Error(error.code(), printable(checkpoint.path) + ": tensor '" + excerpt(tensor.name) +
                                  "': " + error.what());
  }
}

}  // namespace

uint64_t CheckpointTensor::elements() const {
  uint64_t count = 1;
  for (const uint64_t size : shape) count *= size;
  return count;
}

void Checkpoint::read_as_f32(const CheckpointTensor& tensor, std::span<float> out) const {
  with_context(*this, tensor, [&] {
    check_readable(tensor);
    if (out.size() != tensor.elements()) {
      throw Error(ErrorCode::kInternal, "the buffer for its values has another size");
    }
    const Storage& storage = storages[tensor.storage];
    if (tensor.type == ElementType::kF32 && !storage.big_endian() && is_contiguous(tensor)) {
      if (!out.empty())
        std::memcpy(out.data(), storage.bytes().data() + tensor.offset, out.size_bytes());
    } else {
      convert(tensor, storage, out.data());
    }
  });
}

std::vector<float> Checkpoint::read_as_f32(const CheckpointTensor& tensor) const {
  std::vector<float> values(tensor.refusal.empty() ? tensor.elements() : 0);
  read_as_f32(tensor, values);
  return values;
}

void Checkpoint::read_bytes(const CheckpointTensor& tensor,
                            const std::function<void(std::span<const uint8_t>)>& consume) const {
  with_context(*this, tensor, [&] {
    check_readable(tensor);
    const Storage& storage = storages[tensor.storage];
    const size_t width = element_bytes(tensor.type);
    const uint64_t bytes = tensor.elements() * width;
    if (bytes == 0) return;
    if (is_contiguous(tensor) && (!storage.big_endian() || width == 1)) {
      consume(storage.bytes().subspan(tensor.offset, bytes));
      return;
    }
    constexpr size_t kPiece = size_t{1} << 20;
    std::vector<uint8_t> piece;
    piece.reserve(std::min<uint64_t>(bytes, kPiece));
    for_each_element(tensor, storage.bytes().data(), [&](const uint8_t* element) {
      if (storage.big_endian()) {
        for (size_t i = width; i-- > 0;) piece.push_back(element[i]);
      } else {
        piece.insert(piece.end(), element, element + width);
      }
      if (piece.size() + width > kPiece) {
        consume(piece);
        piece.clear();
      }
    });
    if (!piece.empty()) consume(piece);
  });
}

}  // namespace lightcap::internal
