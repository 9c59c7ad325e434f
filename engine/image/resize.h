// Resampling of 8-bit pictures, to the last bit as Pillow and OpenCV do it: networks are trained on
// what these two make of pictures, and give other results on what a look-alike makes.
#ifndef LIGHTCAP_ENGINE_IMAGE_RESIZE_H_
#define LIGHTCAP_ENGINE_IMAGE_RESIZE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/image/frame.h"
#include "engine/runtime/ops.h"
#include "engine/runtime/tensor.h"

namespace lightcap::internal {

// A window into the picture as it is after resizing: its top left pixel.
struct ResizedWindow {
  size_t resized_width = 0, resized_height = 0;  // of the whole picture
  size_t left = 0, top = 0;
};

// The float that each 8-bit value becomes: [channel][value].
using ValueTable = std::array<std::array<float, 256>, 3>;

// The place for a resized picture, given to resize_*() in rows of 8-bit RGB. It says how large the
// picture is, and what its pixels become.
class ResizedRows {
 public:
  ResizedRows(size_t picture_width, size_t picture_height)
      : width(picture_width), height(picture_height) {}
  virtual ~ResizedRows() = default;
  // Takes row y, rgb [width][3]; called on several threads, once for each row.
  virtual void write(size_t y, const uint8_t* rgb) const = 0;

  const size_t width, height;
};

// out [height][width][3] = table[channel][value].
class TableRows final : public ResizedRows {
 public:
  TableRows(const Tensor& out, const ValueTable& table)
      : ResizedRows(out.width, out.height), out_(out), table_(table) {}
  void write(size_t y, const uint8_t* rgb) const override;

 private:
  const Tensor out_;
  const ValueTable& table_;
};

// out [height][width][3] = value / 255.
class UnitRows final : public ResizedRows {
 public:
  explicit UnitRows(const Tensor& out) : ResizedRows(out.width, out.height), out_(out) {}
  void write(size_t y, const uint8_t* rgb) const override;

 private:
  const Tensor out_;
};

// out [height][width][4] = red, green, blue and `fourth`.
class ByteRows final : public ResizedRows {
 public:
  ByteRows(const ByteTensor& out, uint8_t fourth)
      : ResizedRows(out.width, out.height), out_(out), fourth_(fourth) {}
  void write(size_t y, const uint8_t* rgb) const override;

 private:
  const ByteTensor out_;
  const uint8_t fourth_;
};

// Pillow's Image.resize(BICUBIC) (a = -0.5, antialiased; 22-bit fixed point and 8-bit results after
// the horizontal and after the vertical pass) into the square `out`, which is the window. Takes its
// working memory from the arena: the same amount for every picture whose sides are at most
// ImageLimits::kMaxSide. While the arena is planning nothing else happens. Rows of the picture
// become RGB when they are asked for: no second picture is made. Throws Error(kCancelled) where the
// run is to end.
void resize_bicubic(const Runtime& runtime, const Frame& image, const ResizedWindow& window,
                    const ResizedRows& out);

// OpenCV's resize(INTER_LINEAR), with the same promises. `longest` is the longest side that `out`
// may have: it alone decides the memory taken from the arena.
void resize_bilinear(const Runtime& runtime, const Frame& image, size_t longest,
                     const ResizedRows& out);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_RESIZE_H_
