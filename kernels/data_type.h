// The number types of stored weights, and their exact widening to fp32.
#ifndef LIGHTCAP_KERNELS_DATA_TYPE_H_
#define LIGHTCAP_KERNELS_DATA_TYPE_H_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace lightcap::internal {

// The numbers are those of the .lcw format.
enum class DataType : uint8_t { kF32 = 1, kF16, kBf16 };
constexpr size_t data_type_bytes(DataType type) { return type == DataType::kF32 ? 4 : 2; }
constexpr const char* data_type_name(DataType type) {
  return type == DataType::kF32 ? "f32" : type == DataType::kF16 ? "f16" : "bf16";
}

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

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_DATA_TYPE_H_
