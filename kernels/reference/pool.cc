#include <algorithm>
#include <limits>

#include "kernels/reference/reference.h"
#include "kernels/reference/window.h"

namespace lightcap::internal::reference {

namespace {

// Sets each element of the output to pooled(fold), where fold(f) calls f for each element of its
// window that is inside the input.
template <class T, class Pooled>
void pool(const PoolArgsOf<T>& args, const Pooled& pooled) {
  for (size_t y = args.first_row; y < args.first_row + args.rows; ++y) {
    for (size_t x = 0; x < args.output_width; ++x) {
      T* pixel = args.output + y * args.output_row_stride + x * args.output_pixel_stride;
      for (size_t c = 0; c < args.channels; ++c) {
        pixel[c] = pooled([&](const auto& f) {
          for (size_t wy = 0; wy < args.window; ++wy) {
            for (size_t wx = 0; wx < args.window; ++wx) {
              if (const T* inside = window_pixel(args, y, x, wy, wx)) f(inside[c]);
            }
          }
        });
      }
    }
  }
}

template <class T>
void largest(const PoolArgsOf<T>& args) {
  pool(args, [](const auto& for_each) {
    T top = std::numeric_limits<T>::lowest();
    for_each([&](T value) { top = std::max(top, value); });
    return top;
  });
}

template <class T>
void doubled(const UpsampleArgsOf<T>& args) {
  for (size_t y = 0; y < 2 * args.rows; ++y) {
    for (size_t x = 0; x < 2 * args.width; ++x) {
      const T* from = args.input + y / 2 * args.input_row_stride + x / 2 * args.input_pixel_stride;
      std::copy_n(from, args.channels,
                  args.output + y * args.output_row_stride + x * args.output_pixel_stride);
    }
  }
}

}  // namespace

void average_pool(const PoolArgs& args) {
  pool(args, [&](const auto& for_each) {
    double sum = 0;
    for_each([&](float value) { sum += static_cast<double>(value); });
    return static_cast<float>(sum / static_cast<double>(args.window * args.window));
  });
}

void byte_average_pool(const BytePoolArgs& args) {
  pool(args, [](const auto& for_each) {
    unsigned sum = 2;
    for_each([&](uint8_t value) { sum += value; });
    return static_cast<uint8_t>(sum >> 2);
  });
}

void max_pool(const PoolArgs& args) { largest(args); }
void byte_max_pool(const BytePoolArgs& args) { largest(args); }

void upsample(const UpsampleArgs& args) { doubled(args); }
void byte_upsample(const ByteUpsampleArgs& args) { doubled(args); }

}  // namespace lightcap::internal::reference
