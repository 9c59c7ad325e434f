// The number types of what a weights file stores, and the exact widening of floats to fp32.
#ifndef LIGHTCAP_KERNELS_DATA_TYPE_H_
#define LIGHTCAP_KERNELS_DATA_TYPE_H_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace lightcap::internal {

// The numbers are those of the .lcw format.
enum class DataType : uint8_t { kF32 = 1, kF16, kBf16, kI8, kI32 };
inline constexpr uint8_t kLastDataType = static_cast<uint8_t>(DataType::kI32);

constexpr size_t data_type_bytes(DataType type) {
  constexpr size_t kBytes[] = {0, 4, 2, 2, 1, 4};
  return kBytes[static_cast<size_t>(type)];
}
constexpr const char* data_type_name(DataType type) {
  constexpr const char* kNames[] = {"", "f32", "f16", "bf16", "i8", "i32"};
  return kNames[static_cast<size_t>(type)];
}
constexpr bool is_float(DataType type) { return type <= DataType::kBf16; }
// Floats that are widened before they are used.
constexpr bool is_narrow(DataType type) { return is_float(type) && type != DataType::kF32; }

// bfloat16 is the upper half of an fp32 number.
constexpr float widen_bf16(uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); }

// IEEE binary16 to binary32, exactly. Multiplying by 2^112 moves the exponent's bias from 15 to 127
// and makes subnormal numbers normal.
constexpr float widen_f16(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t magnitude = uint32_t{half & 0x7fffu} << 13;
  constexpr uint32_t kInfinity = 0x7c00u << 13;
  if (magnitude >= kInfinity)
    return std::bit_cast<float>(sign | 0x7f800000u | (magnitude - kInfinity));
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

// Element `i` of an array of f32, f16 or bf16 numbers as fp32, exactly.
inline float widened(const void* data, DataType type, size_t i) {
  if (type == DataType::kF32) return static_cast<const float*>(data)[i];
  const uint16_t half = static_cast<const uint16_t*>(data)[i];
  return type == DataType::kF16 ? widen_f16(half) : widen_bf16(half);
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_DATA_TYPE_H_
