#include "engine/image/resize.h"

#include <algorithm>
#include <cmath>

namespace lightcap::internal {
namespace {

// Strips of output rows that are computed independently. Fixed, so that memory does not depend on
// the number of threads.
constexpr size_t kStrips = 8;

size_t strip_begin(size_t rows, size_t strip) { return rows * strip / kStrips; }

// Room for a row of any picture, to convert it in.
uint8_t* row_memory(Arena& arena) {
  return static_cast<uint8_t*>(arena.bytes(3 * ImageLimits::kMaxSide));
}

// True once the run is to end: what a strip has not done by then stays undone. Strips of large
// pictures take longer than an answer may, so they look after each row.
bool is_interrupted(const Runtime& runtime) {
  return runtime.is_interruptible() && runtime.interruption->requested();
}

// ---- Bicubic, as Pillow's Resample.c computes it ----

constexpr double kSupport = 2.0;  // of the filter, in source pixels where nothing shrinks

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// How many source pixels an output pixel is made of, at most, and made a multiple of 4.
size_t window_size(size_t source, size_t target) {
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  const size_t pixels = static_cast<size_t>(std::ceil(kSupport * std::max(scale, 1.0))) * 2 + 1;
  return (pixels + 3) / 4 * 4;
}

// Outputs [first, first + count) of a side of `target` made from `source` pixels.
struct Windows {
  size_t window;      // weights an output has room for
  size_t copies;      // of each weight
  int32_t* weights;   // [count][window][copies], fixed point; zeros after a window's own
  uint32_t* begins;   // [count], the first source pixel
  uint32_t* lengths;  // [count]
  double* exact;      // [window], scratch

  Windows(Arena& arena, size_t count, size_t largest_window, size_t weight_copies)
      : window(largest_window),
        copies(weight_copies),
        weights(
            static_cast<int32_t*>(arena.bytes(count * largest_window * copies * sizeof(int32_t)))),
        begins(static_cast<uint32_t*>(arena.bytes(count * sizeof(uint32_t)))),
        lengths(static_cast<uint32_t*>(arena.bytes(count * sizeof(uint32_t)))),
        exact(static_cast<double*>(arena.bytes(largest_window * sizeof(double)))) {}

  void fill(size_t source, size_t target, size_t first, size_t count) {
    window = window_size(source, target);
    const double scale = static_cast<double>(source) / static_cast<double>(target);
    const double filter_scale = std::max(scale, 1.0);
    const double support = kSupport * filter_scale;
    for (size_t i = 0; i < count; ++i) {
      const double center = (static_cast<double>(first + i) + 0.5) * scale;
      const auto begin = static_cast<size_t>(std::max(center - support + 0.5, 0.0));
      const size_t end = std::min(static_cast<size_t>(center + support + 0.5), source);
      const size_t length = end - begin;
      double sum = 0;
      for (size_t k = 0; k < length; ++k) {
        exact[k] = bicubic((static_cast<double>(begin + k) - center + 0.5) * (1.0 / filter_scale));
        sum += exact[k];
      }
      int32_t* to = weights + i * window * copies;
      std::fill_n(to, window * copies, 0);
      for (size_t k = 0; k < length; ++k, to += copies) {
        const double weight = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << kResizeBits);
        std::fill_n(to, copies, static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5));
      }
      begins[i] = static_cast<uint32_t>(begin);
      lengths[i] = static_cast<uint32_t>(length);
    }
  }
};

uint8_t from_fixed(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kResizeBits, 0, 255));
}

constexpr int32_t kHalf = 1 << (kResizeBits - 1);

void add_row(const uint8_t* row, int32_t weight, size_t count, int32_t* sum) {
  for (size_t i = 0; i < count; ++i) sum[i] += weight * row[i];
}

void round_row(const int32_t* sum, size_t count, uint8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = from_fixed(sum[i]);
}

// The order of the passes shows where a value was clipped to 0 or 255 between them. Pillow 13
// begins with the vertical one where that removes more than twice as many rows as the other removes
// columns (seen by trying 6000 sizes); before, the horizontal one was always first.
bool resizes_down_first(const Frame& image, const ResizedWindow& window) {
  const auto removed = [](size_t from, size_t to) {
    return static_cast<int64_t>(from) - static_cast<int64_t>(to);
  };
  const int64_t rows = removed(image.height(), window.resized_height);
  return rows > 0 && 2 * removed(image.width(), window.resized_width) < rows;
}

// The widest picture that resizes_down_first() allows.
size_t widest_down_first(size_t size) {
  return std::min(ImageLimits::kMaxSide / 2 + size, ImageLimits::kMaxSide);
}

// The state of one strip of output rows.
struct BicubicStrip {
  size_t size = 0, window = 0;
  uint8_t* ring = nullptr;      // [window][size][3]: source rows, already resized across
  size_t next = 0;              // the first source row that is not in the ring yet
  int32_t* sums = nullptr;      // [widest_down_first][3]
  uint8_t* wide = nullptr;      // [widest_down_first][3]
  uint8_t* row = nullptr;       // [size][3], the result
  uint8_t* source = nullptr;    // [kMaxSide][3], for a source row that is converted
  int32_t* unpacked = nullptr;  // the kernel's scratch
  const Runtime* runtime = nullptr;

  BicubicStrip() = default;
  BicubicStrip(const Runtime& graph, Arena& arena, size_t output_size, size_t largest_window)
      : size(output_size),
        window(largest_window),
        ring(static_cast<uint8_t*>(arena.bytes(largest_window * 3 * size))),
        sums(static_cast<int32_t*>(arena.bytes(widest_down_first(size) * 3 * sizeof(int32_t)))),
        wide(static_cast<uint8_t*>(arena.bytes(widest_down_first(size) * 3))),
        row(static_cast<uint8_t*>(arena.bytes(3 * size))),
        source(row_memory(arena)),
        unpacked(static_cast<int32_t*>(
            arena.bytes((ImageLimits::kMaxSide + window) * 4 * sizeof(int32_t)))),
        runtime(&graph) {}

  // One row of the square out of a source row.
  void resize_across(const uint8_t* pixels, size_t count, const Windows& across,
                     uint8_t* out) const {
    runtime->kernels.resize_row({.row = pixels,
                                 .pixels = count,
                                 .weights = across.weights,
                                 .window = across.window,
                                 .begins = across.begins,
                                 .unpacked = unpacked,
                                 .out = out,
                                 .size = size});
  }

  // Each source row is resized once a strip: windows never begin before their predecessor.
  void resize_across_then_down(const Frame& image, const Windows& across, const Windows& down,
                               size_t y) {
    const size_t begin = down.begins[y], end = begin + down.lengths[y];
    const auto ring_row = [&](size_t i) { return ring + i % window * 3 * size; };
    for (next = std::max(next, begin); next < end && !is_interrupted(*runtime); ++next)
      resize_across(image.row(next, source), image.width(), across, ring_row(next));
    std::fill_n(sums, 3 * size, kHalf);
    for (size_t i = begin; i < end; ++i)
      add_row(ring_row(i), down.weights[y * down.window + i - begin], 3 * size, sums);
    round_row(sums, 3 * size, row);
  }

  void resize_down_then_across(const Frame& image, const Windows& across, const Windows& down,
                               size_t y) {
    const size_t width = image.width();
    std::fill_n(sums, 3 * width, kHalf);
    for (size_t k = 0; k < down.lengths[y] && !is_interrupted(*runtime); ++k) {
      add_row(image.row(down.begins[y] + k, source), down.weights[y * down.window + k], 3 * width,
              sums);
    }
    round_row(sums, 3 * width, wide);
    resize_across(wide, width, across, row);
  }
};

// ---- Bilinear, as OpenCV computes it for 8-bit pictures ----

constexpr int kLinearBits = 11;

// An output pixel's two source pixels, as bytes of the row or as rows, and their weights in 1/2048.
struct LinearTap {
  uint32_t low, high;
  int32_t low_weight, high_weight;
};

// OpenCV moves the weights of taps beyond the edge in a row, and clips only their places in a
// column.
void linear_taps(size_t source, size_t target, bool is_row, LinearTap* taps) {
  const double scale = 1 / (static_cast<double>(target) / static_cast<double>(source));
  const auto last = static_cast<int64_t>(source) - 1;
  for (size_t i = 0; i < target; ++i) {
    const auto at = static_cast<float>((static_cast<double>(i) + 0.5) * scale - 0.5);
    const auto low = static_cast<int64_t>(std::floor(at));
    const float fraction = at - static_cast<float>(low);
    LinearTap& tap = taps[i];
    tap.low_weight = static_cast<int32_t>(std::nearbyint((1.0f - fraction) * (1 << kLinearBits)));
    tap.high_weight = static_cast<int32_t>(std::nearbyint(fraction * (1 << kLinearBits)));
    if (is_row && (low < 0 || low >= last)) {
      tap.low_weight = 1 << kLinearBits;
      tap.high_weight = 0;
    }
    const int64_t step = is_row ? 3 : 1;
    tap.low = static_cast<uint32_t>(step * std::clamp<int64_t>(low, 0, last));
    tap.high = static_cast<uint32_t>(step * std::clamp<int64_t>(low + 1, 0, last));
  }
}

// In 1/128, as OpenCV cuts them: 16 bits hold that.
void linear_row(const uint8_t* row, const LinearTap* taps, size_t width, int16_t* out) {
  for (size_t x = 0; x < width; ++x) {
    const LinearTap& tap = taps[x];
    const uint8_t *low = row + tap.low, *high = row + tap.high;
    for (size_t c = 0; c < 3; ++c)
      out[3 * x + c] =
          static_cast<int16_t>((low[c] * tap.low_weight + high[c] * tap.high_weight) >> 4);
  }
}

uint8_t linear_value(int16_t upper, int16_t lower, int16_t upper_weight, int16_t lower_weight) {
  const int32_t sum = ((upper * upper_weight) >> 16) + ((lower * lower_weight) >> 16);
  return static_cast<uint8_t>(std::clamp((sum + 2) >> 2, 0, 255));
}

// A strip's scratch.
struct LinearStrip {
  int16_t* rows = nullptr;   // [2][longest][3]: source rows, already resized across
  uint8_t* row = nullptr;    // [longest][3], the result
  uint8_t* sources[2] = {};  // [kMaxSide][3], for source rows that are converted

  LinearStrip() = default;
  LinearStrip(Arena& arena, size_t longest)
      : rows(static_cast<int16_t*>(arena.bytes(2 * 3 * longest * sizeof(int16_t)))),
        row(static_cast<uint8_t*>(arena.bytes(3 * longest))),
        sources{row_memory(arena), row_memory(arena)} {}

  // Row y of `out` by bilinear interpolation.
  void interpolate(const Frame& image, const LinearTap* across, const LinearTap* down, size_t y,
                   const ResizedRows& out) {
    const size_t values = 3 * out.width;
    const auto row_of = [&](size_t i) {
      int16_t* place = rows + (i % 2) * values;
      if (held[i % 2] != i) {
        linear_row(image.row(i, sources[0]), across, out.width, place);
        held[i % 2] = i;
      }
      return place;
    };
    const int16_t* upper = row_of(down[y].low);
    const int16_t* lower = row_of(down[y].high);  // the next row or the same
    const auto upper_weight = static_cast<int16_t>(down[y].low_weight);
    const auto lower_weight = static_cast<int16_t>(down[y].high_weight);
    for (size_t i = 0; i < values; ++i)
      row[i] = linear_value(upper[i], lower[i], upper_weight, lower_weight);
    out.write(y, row);
  }

  // OpenCV averages 2x2 pixels where both sides are halved exactly, and copies where nothing
  // changes.
  void halve_or_copy(const Frame& image, size_t y, const ResizedRows& out) const {
    if (image.width() == out.width) return out.write(y, image.row(y, sources[0]));
    const uint8_t* upper = image.row(2 * y, sources[0]);
    const uint8_t* lower = image.row(2 * y + 1, sources[1]);
    for (size_t x = 0; x < out.width; ++x) {
      for (size_t c = 0; c < 3; ++c) {
        const size_t at = 6 * x + c;
        const int value = (upper[at] + upper[at + 3] + lower[at] + lower[at + 3] + 2) >> 2;
        row[3 * x + c] = static_cast<uint8_t>(value);
      }
    }
    out.write(y, row);
  }

 private:
  // The source rows in the two places of `rows`, to resize each once.
  size_t held[2] = {SIZE_MAX, SIZE_MAX};
};

}  // namespace

void TableRows::write(size_t y, const uint8_t* rgb) const {
  float* to = out_.data + y * out_.row_stride;
  for (size_t x = 0; x < width; ++x)
    for (size_t c = 0; c < 3; ++c) to[3 * x + c] = table_[c][rgb[3 * x + c]];
}

void UnitRows::write(size_t y, const uint8_t* rgb) const {
  float* to = out_.data + y * out_.row_stride;
  for (size_t i = 0; i < 3 * width; ++i) to[i] = static_cast<float>(rgb[i]) / 255.0f;
}

void ByteRows::write(size_t y, const uint8_t* rgb) const {
  uint8_t* to = out_.data + y * out_.row_stride;
  for (size_t x = 0; x < width; ++x) {
    for (size_t c = 0; c < 3; ++c) to[4 * x + c] = rgb[3 * x + c];
    to[4 * x + 3] = fourth_;
  }
}

void resize_bicubic(const Runtime& runtime, const Frame& image, const ResizedWindow& window,
                    const ResizedRows& out) {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  const size_t size = out.height;
  const size_t largest_window = window_size(ImageLimits::kMaxSide, size);
  Windows across(arena, size, largest_window, 4), down(arena, size, largest_window, 1);
  BicubicStrip strips[kStrips];
  for (BicubicStrip& strip : strips) strip = BicubicStrip(runtime, arena, size, largest_window);
  runtime.serial([&] {
    across.fill(image.width(), window.resized_width, window.left, size);
    down.fill(image.height(), window.resized_height, window.top, size);
  });
  const bool down_first = resizes_down_first(image, window);
  runtime.parallel_for(kStrips, [&](size_t strip) {
    BicubicStrip& work = strips[strip];
    const size_t end = strip_begin(size, strip + 1);
    for (size_t y = strip_begin(size, strip); y < end && !is_interrupted(runtime); ++y) {
      if (down_first) {
        work.resize_down_then_across(image, across, down, y);
      } else {
        work.resize_across_then_down(image, across, down, y);
      }
      out.write(y, work.row);
    }
  });
}

void resize_bilinear(const Runtime& runtime, const Frame& image, size_t longest,
                     const ResizedRows& out) {
  Arena& arena = runtime.arena;
  const Arena::Scope scope(arena);
  auto* across = static_cast<LinearTap*>(arena.bytes(longest * sizeof(LinearTap)));
  auto* down = static_cast<LinearTap*>(arena.bytes(longest * sizeof(LinearTap)));
  LinearStrip strips[kStrips];
  for (LinearStrip& strip : strips) strip = LinearStrip(arena, longest);
  const size_t width = image.width(), height = image.height();
  const bool special = (width == out.width && height == out.height) ||
                       (width == 2 * out.width && height == 2 * out.height);
  runtime.serial([&] {
    if (special) return;
    linear_taps(width, out.width, true, across);
    linear_taps(height, out.height, false, down);
  });
  runtime.parallel_for(kStrips, [&](size_t strip) {
    const size_t end = strip_begin(out.height, strip + 1);
    for (size_t y = strip_begin(out.height, strip); y < end && !is_interrupted(runtime); ++y) {
      if (special) {
        strips[strip].halve_or_copy(image, y, out);
      } else {
        strips[strip].interpolate(image, across, down, y, out);
      }
    }
  });
}

}  // namespace lightcap::internal
