// The choice of the row of isa.def that each kernel is taken from. These are plain functions of
// rows and a CPU's features, so that they can be tested with made-up ones; dispatch.cc calls them
// with isa.def's rows and the features that it detects.
#ifndef LIGHTCAP_KERNELS_ISA_SELECTION_H_
#define LIGHTCAP_KERNELS_ISA_SELECTION_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/kernels.h"

namespace lightcap::internal {

struct IsaRow {
  std::string_view name;
  std::string_view parent;  // "none" where the row has none
  int preference;
  uint32_t features;       // CpuFeature bits
  const KernelTable* own;  // an entry is null where the row takes its parent's kernel
};

inline constexpr size_t kNoRow = SIZE_MAX;

constexpr bool includes(uint32_t features, uint32_t others) { return (others & ~features) == 0; }

// True if row a is taken rather than row b where these two may be used; isa.def has the rule.
constexpr bool comes_before(const IsaRow& a, const IsaRow& b) {
  const bool a_includes = includes(a.features, b.features);
  const bool b_includes = includes(b.features, a.features);
  return a_includes != b_includes ? a_includes : a.preference > b.preference;
}

// The index of the row `name`, or kNoRow.
constexpr size_t find_row(std::span<const IsaRow> rows, std::string_view name) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].name == name) return i;
  }
  return kNoRow;
}

// The first thing that is wrong with rows, or null: names that occur twice, a parent that does not
// stand above its row or needs features that the row does not ask for, two rows between which
// neither features nor preference decide, no row for a CPU without features.
constexpr const char* problem_of(std::span<const IsaRow> rows) {
  bool has_baseline = false;
  for (size_t i = 0; i < rows.size(); ++i) {
    const IsaRow& row = rows[i];
    if (find_row(rows, row.name) != i) return "a name occurs twice";
    if (row.parent != "none") {
      const size_t parent = find_row(rows, row.parent);
      if (parent >= i) return "a row's parent must stand above it";
      if (!includes(row.features, rows[parent].features)) {
        return "a row must ask for its parent's features";
      }
    } else if (row.features == 0) {
      has_baseline = true;
    }
    for (size_t j = 0; j < i; ++j) {
      if (!comes_before(row, rows[j]) && !comes_before(rows[j], row)) {
        return "rows neither of which includes the other need different preferences";
      }
    }
  }
  return has_baseline ? nullptr : "no row without a parent is for every CPU of the machine";
}

// Row `index`'s own kernels, and where it has none those of its parent, grandparent and so on. The
// table has the row's name.
KernelTable complete_table(std::span<const IsaRow> rows, size_t index) noexcept;

// For each kernel the one of the foremost row that compiles it and that a CPU with these features
// supports. The table has the name of the foremost row whose complete table it equals; where
// kernels of several rows meet that no row unites, their names joined by +, as in "avx512+avxvnni".
struct SelectedKernels {
  KernelTable table;  // without a name: it would point into this struct, which may be copied
  char name[64];
};
SelectedKernels select_kernels(std::span<const IsaRow> rows, uint32_t features) noexcept;

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_ISA_SELECTION_H_
