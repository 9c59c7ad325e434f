#include "weights_converter/names.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace lightcap {
namespace {

// Wagner and Fischer's, with one row.
template <class Sequence>
size_t distance(const Sequence& a, const Sequence& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::vector<std::string_view> parts(std::string_view name) {
  std::vector<std::string_view> result;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    result.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return result;
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) { return distance(a, b); }

size_t dotted_distance(std::string_view a, std::string_view b) {
  return distance(parts(a), parts(b));
}

}  // namespace lightcap
