#include "weights_converter/names.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

namespace lightcap::internal {
namespace {

std::vector<std::string_view> parts(std::string_view name) {
  std::vector<std::string_view> result;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    result.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return result;
}

std::string digits(std::string_view text) {
  std::string result;
  std::copy_if(text.begin(), text.end(), std::back_inserter(result),
               [](char c) { return c >= '0' && c <= '9'; });
  return result;
}

bool contains(std::string_view text, std::string_view part) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::search(text.begin(), text.end(), part.begin(), part.end(),
                     [&](char a, char b) { return lower(a) == lower(b); }) != text.end();
}

bool spelled_alike(std::string_view a, std::string_view b) {
  constexpr size_t kLongest = 100;  // of a part; comparing takes the product of both
  if (a.empty() || b.empty() || a.size() > kLongest || b.size() > kLongest) return false;
  if (digits(a) != digits(b)) return false;
  return contains(a, b) || contains(b, a) || edit_distance(a, b) <= 1;
}

}  // namespace

// Wagner and Fischer's algorithm, with one row.
size_t edit_distance(std::string_view a, std::string_view b) {
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

std::optional<size_t> spelling_difference(std::string_view a, std::string_view b) {
  const std::vector<std::string_view> left = parts(a), right = parts(b);
  if (left.size() != right.size()) return std::nullopt;
  size_t differ = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    if (left[i] == right[i]) continue;
    if (++differ > 1 || !spelled_alike(left[i], right[i])) return std::nullopt;
  }
  return differ;
}

}  // namespace lightcap::internal
