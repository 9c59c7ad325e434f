// Compiled once for each row of isa.def, with the row's flags: all kernels over the row's xsimd
// architecture and primitives (row.h), and the table of those that the row names. Everything is in
// an unnamed namespace and calls no inline function of the standard library, so that the linker
// can't replace another unit's copy of a function with one that uses this unit's instructions
// (tests/check_isa_symbols).
#include "kernels/kernels.h"
#include "kernels/simd/activation.inl"
#include "kernels/simd/attention.inl"
#include "kernels/simd/byte_pool.inl"
#include "kernels/simd/conv.inl"
#include "kernels/simd/eltwise.inl"
#include "kernels/simd/gemm.inl"
#include "kernels/simd/head.inl"
#include "kernels/simd/integer_product.inl"
#include "kernels/simd/integer_winograd.inl"
#include "kernels/simd/norm.inl"
#include "kernels/simd/pool.inl"
#include "kernels/simd/resize.inl"
#include "kernels/simd/roi_align.inl"
#include "kernels/simd/top_k.inl"
#include "kernels/simd/wide.inl"
#include "kernels/simd/winograd.inl"
#include "kernels/simd/winograd_weights.inl"

namespace lightcap::internal {
namespace {

// True if `list`, names separated by commas and spaces, has `name`.
constexpr bool lists(const char* list, const char* name) {
  const auto is_in_name = [](char c) { return c != '\0' && c != ',' && c != ' '; };
  for (const char* at = list; *at != '\0';) {
    size_t same = 0;
    while (is_in_name(at[same]) && at[same] == name[same]) ++same;
    if (same != 0 && !is_in_name(at[same]) && name[same] == '\0') return true;
    while (is_in_name(*at)) ++at;
    while (*at != '\0' && !is_in_name(*at)) ++at;
  }
  return false;
}

constexpr size_t count_names(const char* list) {
  size_t count = 1;
  for (const char* at = list; *at != '\0'; ++at) count += *at == ',';
  return count;
}

constexpr bool is_own(const char* kernel) {
  return lists(LIGHTCAP_ISA_KERNELS, "all") || lists(LIGHTCAP_ISA_KERNELS, kernel);
}

constexpr size_t count_own() {
  size_t count = 0;
#define LIGHTCAP_KERNEL(name, Args) count += is_own(#name);
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
  return count;
}
static_assert(lists(LIGHTCAP_ISA_KERNELS, "all") ||
                  count_own() == count_names(LIGHTCAP_ISA_KERNELS),
              "a name in isa.def is not one of kernels.def, or is there twice");

}  // namespace

namespace isa {
extern const KernelTable LIGHTCAP_ISA_NAME;
const KernelTable LIGHTCAP_ISA_NAME = {
    LIGHTCAP_STRING(LIGHTCAP_ISA_NAME),
    is_own("gemm") ? Primitives::kTile.mr : 0,
    is_own("integer_conv") && Primitives::kPrefersIntegerWinograd,
#define LIGHTCAP_KERNEL(name, Args) is_own(#name) ? lightcap::internal::name : nullptr,
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
};
}  // namespace isa
}  // namespace lightcap::internal
