// Cutting an operation into tasks.
#ifndef LIGHTCAP_ENGINE_RUNTIME_SPLIT_H_
#define LIGHTCAP_ENGINE_RUNTIME_SPLIT_H_

#include <algorithm>
#include <cstddef>

namespace lightcap::internal {

constexpr size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

struct Piece {
  size_t begin, count;
};

// How many pieces of whole `unit`s `total` is cut into, and where each begins. Pieces differ by one
// unit at most.
struct Split {
  size_t total, unit, pieces;

  size_t begin(size_t piece) const {
    const size_t units = ceil_div(total, unit);
    return std::min(units * piece / pieces * unit, total);
  }
  Piece operator[](size_t piece) const {
    const size_t first = begin(piece);
    return {first, begin(piece + 1) - first};
  }
  // The most that a piece has, 0 where there is none.
  size_t largest() const {
    if (pieces == 0) return 0;
    return std::min(ceil_div(ceil_div(total, unit), pieces) * unit, total);
  }
};

// As many pieces as asked for, if there are enough units; none of nothing.
inline Split split(size_t total, size_t unit, size_t pieces) {
  const size_t units = ceil_div(total, unit);
  return {total, unit, std::min(std::max<size_t>(pieces, 1), units)};
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_SPLIT_H_
