// The types that tensors' elements have in checkpoints.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_ELEMENT_TYPE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_ELEMENT_TYPE_H_

#include <cstddef>
#include <cstdint>

namespace lightcap::internal {

enum class ElementType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBf16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool
};

struct ElementTypeInfo {
  const char* name;
  size_t bytes;
};

constexpr ElementTypeInfo element_type_info(ElementType type) {
  constexpr ElementTypeInfo kInfos[] = {{"f64", 8}, {"f32", 4}, {"f16", 2}, {"bf16", 2}, {"i64", 8},
                                        {"i32", 4}, {"i16", 2}, {"i8", 1},  {"u64", 8},  {"u32", 4},
                                        {"u16", 2}, {"u8", 1},  {"bool", 1}};
  return kInfos[static_cast<size_t>(type)];
}

constexpr size_t element_bytes(ElementType type) { return element_type_info(type).bytes; }

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_ELEMENT_TYPE_H_
