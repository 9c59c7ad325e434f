#include "kernels/isa_selection.h"

#include <algorithm>

namespace lightcap::internal {
namespace {

bool is_strictly_included(const IsaRow& row, const IsaRow& other) {
  return includes(other.features, row.features) && !includes(row.features, other.features);
}

// The foremost of the supported rows of which `has` is true, or kNoRow. Rows whose features another
// candidate includes are set aside first; preference decides between those that are left.
template <class Has>
size_t foremost(std::span<const IsaRow> rows, uint32_t features, const Has& has) {
  const auto is_candidate = [&](const IsaRow& row) {
    return includes(features, row.features) && has(*row.own);
  };
  size_t best = kNoRow;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto comes_first = [&](const IsaRow& other) {
      return is_candidate(other) && is_strictly_included(rows[i], other);
    };
    if (!is_candidate(rows[i]) || std::any_of(rows.begin(), rows.end(), comes_first)) continue;
    if (best == kNoRow || rows[i].preference > rows[best].preference) best = i;
  }
  return best;
}

bool are_same_kernels(const KernelTable& a, const KernelTable& b) {
  bool same = true;
#define LIGHTCAP_KERNEL(name, Args) same = same && a.name == b.name;
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
  return same;
}

// Appends `text`, cut off where `name` is full.
template <size_t kSize>
void append(char (&name)[kSize], std::string_view text) {
  const size_t length = std::string_view(name).size();
  const size_t count = std::min(text.size(), kSize - 1 - length);
  std::copy_n(text.data(), count, name + length);
  name[length + count] = '\0';
}

}  // namespace

KernelTable complete_table(std::span<const IsaRow> rows, size_t index) noexcept {
  KernelTable table = *rows[index].own;
  for (size_t parent = find_row(rows, rows[index].parent); parent != kNoRow;
       parent = find_row(rows, rows[parent].parent)) {
    const KernelTable& own = *rows[parent].own;
    if (table.gemm == nullptr) table.tile_rows = own.tile_rows;
    if (table.integer_conv == nullptr)
      table.prefers_integer_winograd = own.prefers_integer_winograd;
#define LIGHTCAP_KERNEL(name, Args) \
  if (table.name == nullptr) table.name = own.name;
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
  }
  return table;
}

SelectedKernels select_kernels(std::span<const IsaRow> rows, uint32_t features) noexcept {
  SelectedKernels selected = {};
  KernelTable& table = selected.table;
  bool provides[32] = {};
  // The kernels' entries have as many types, so each is chosen by a statement of its own.
#define LIGHTCAP_KERNEL(name, Args)                                                           \
  {                                                                                           \
    const size_t row =                                                                        \
        foremost(rows, features, [](const KernelTable& own) { return own.name != nullptr; }); \
    if (row != kNoRow) {                                                                      \
      table.name = rows[row].own->name;                                                       \
      if (row < std::size(provides)) provides[row] = true;                                    \
    }                                                                                         \
  }
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
  const size_t gemm =
      foremost(rows, features, [](const KernelTable& own) { return own.gemm != nullptr; });
  if (gemm != kNoRow) table.tile_rows = rows[gemm].own->tile_rows;
  const size_t integer_conv =
      foremost(rows, features, [](const KernelTable& own) { return own.integer_conv != nullptr; });
  if (integer_conv != kNoRow)
    table.prefers_integer_winograd = rows[integer_conv].own->prefers_integer_winograd;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!includes(features, rows[i].features)) continue;
    if (!are_same_kernels(table, complete_table(rows, i))) continue;
    append(selected.name, rows[i].name);
    return selected;
  }
  for (size_t i = 0; i < rows.size() && i < std::size(provides); ++i) {
    if (!provides[i]) continue;
    if (selected.name[0] != '\0') append(selected.name, "+");
    append(selected.name, rows[i].name);
  }
  return selected;
}

}  // namespace lightcap::internal
