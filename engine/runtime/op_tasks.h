// The way operations are cut into tasks for the thread pool, and what they count while a session
// plans. Only for the .cc files that implement ops.h.
#ifndef LIGHTCAP_ENGINE_RUNTIME_OP_TASKS_H_
#define LIGHTCAP_ENGINE_RUNTIME_OP_TASKS_H_

#include <algorithm>
#include <cstddef>

#include "engine/runtime/ops.h"
#include "engine/runtime/split.h"
#include "engine/runtime/value_tap.h"

namespace lightcap::internal {

// Multiply-adds that a task should at least be worth: some 5 us on one core, against less than 1
// us for handing it out.
inline constexpr size_t kTaskMacs = 256 * 1024;
// The bytes of weights that make a task where rows are so few that memory bandwidth is the limit.
inline constexpr size_t kTaskWeights = 128 * 1024;

// A product of rows x depth x columns as a grid of tasks. Rows are cut first, into pieces of some
// register tiles: each task then streams all panels past rows that stay in its L2. Where rows are
// too few to feed the threads, columns are cut as well, by whole pairs of panels.
struct TilePart {
  size_t row, rows, column;
  PackedMatrix weights;     // of the part's columns
  const void* next_panels;  // that the same thread is likely to multiply next; or null
};
struct Grid {
  Split rows, columns;
  PackedMatrix weights;  // of all columns
  size_t tasks() const { return rows.pieces * columns.pieces; }
  // Neighbouring tasks share rows, and most run on one thread, which finds them in its cache.
  TilePart part(size_t task) const {
    const auto [row, count] = rows[task / columns.pieces];
    const size_t piece = task % columns.pieces;
    return {row, count, columns.begin(piece), columns_of(piece), next_panels(task)};
  }

 private:
  PackedMatrix columns_of(size_t piece) const {
    const auto [begin, count] = columns[piece];
    return weights.slice(begin, count);
  }
  // Weights come from memory for the first rows; later ones find what fits into the caches.
  const void* next_panels(size_t task) const {
    const size_t next = task + 1;
    return next < columns.pieces ? columns_of(next).data : nullptr;
  }
};

inline constexpr size_t kRowsPerTask = 96;  // weights are read from L2 once for so many
inline constexpr size_t kColumnUnit = 2 * kPanelWidth;
inline constexpr size_t kTasksWanted = 16;  // enough to even out 4 threads

// A quad of bytes takes the place of a float: as many of them make a task.
constexpr size_t quads(size_t depth) { return ceil_div(depth, kQuad); }

// The weights are read `passes` times, and multiplied as often.
inline Grid grid(const Runtime& runtime, size_t rows, const PackedMatrix& weights,
                 size_t passes = 1) {
  const bool is_int8 = weights.type == DataType::kI8;
  const size_t columns = weights.outputs;
  const size_t steps = passes * columns * (is_int8 ? quads(weights.depth) : weights.depth);
  const size_t step_bytes = is_int8 ? kQuad : data_type_bytes(weights.type);
  const size_t tasks =
      std::max<size_t>({rows * steps / kTaskMacs, steps * step_bytes / kTaskWeights, 1});
  const Split row_split =
      split(rows, runtime.kernels.tile_rows, std::min(tasks, ceil_div(rows, kRowsPerTask)));
  const size_t pieces = std::max<size_t>(row_split.pieces, 1);  // none where there are no rows
  const size_t columns_wanted = ceil_div(std::min(tasks, kTasksWanted), pieces);
  return {row_split, split(columns, kColumnUnit, columns_wanted), weights};
}

// A product's steps: panels are computed as wholes, and an output takes some steps beside its sum.
inline double product_steps(size_t rows, size_t depth, size_t columns) {
  constexpr size_t kOutputSteps = 4;
  return static_cast<double>(rows) * static_cast<double>(depth + kOutputSteps) *
         static_cast<double>(ceil_div(columns, kPanelWidth) * kPanelWidth);
}

template <class F>
void for_each_tile(const Runtime& runtime, const Grid& tiles, F&& f) {
  runtime.parallel_for(tiles.tasks(), [&](size_t task) { f(tiles.part(task)); });
}

inline Epilogue epilogue_of(const float* bias, const Fused& fused) {
  return {bias, fused.residual, fused.residual_stride, fused.residual_after, fused.activation};
}

// The epilogue for the columns from `column` on and rows from `row` on.
inline Epilogue shifted(Epilogue epilogue, size_t row, size_t column) {
  if (epilogue.bias != nullptr) epilogue.bias += column;
  if (epilogue.residual != nullptr) epilogue.residual += row * epilogue.residual_stride + column;
  return epilogue;
}

// The session's choice for a convolution: null for a direct one. While the session is still to
// choose, the convolution is shown to its plan and counts as direct.
template <class T>
const WinogradWeights* winograd_for(const Runtime& runtime, const Conv& conv,
                                    const TensorOf<T>& input) {
  if (runtime.convs == nullptr) return nullptr;
  if (!runtime.convs->is_chosen()) runtime.convs->see(conv, input.height, input.width);
  return runtime.convs->winograd(conv);
}

// Runs an operation under the runtime's tap; describe() -> TappedOperation is called only if there
// is one.
template <class Describe, class Run>
void tapped(const Runtime& runtime, Describe&& describe, Run&& run) {
  if (runtime.tap == nullptr || runtime.arena.planning()) return run();
  const TappedOperation operation = describe();
  runtime.tap->before(operation);
  run();
  runtime.tap->after(operation);
}

// linear() that no tap sees.
void multiply(const Runtime& runtime, const Linear& weights, Matrix a, Matrix c,
              const Fused& fused);

// Input of one task of an operation that only moves data.
inline constexpr size_t kMovedBytes = 64 * 1024;

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_OP_TASKS_H_
