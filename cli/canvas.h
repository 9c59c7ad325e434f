// A picture to draw on: rectangles, text, PNG.
#ifndef LIGHTCAP_CLI_CANVAS_H_
#define LIGHTCAP_CLI_CANVAS_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lightcap::internal::cli {

using Color = std::array<uint8_t, 3>;

// 8-bit RGB, white at first. Coordinates may be any numbers of 32 bits: what lies outside is not
// drawn, and costs nothing.
class Canvas {
 public:
  // Throws Error(kOutput) for sides below 1 or sizes that the PNG writer, which counts bytes in
  // int, cannot hold.
  Canvas(int64_t width, int64_t height);

  int64_t width() const { return width_; }
  int64_t height() const { return height_; }

  void set(int64_t x, int64_t y, const Color& color);
  // Pixels from (x1, y1) up to, not including, (x2, y2).
  void fill(int64_t x1, int64_t y1, int64_t x2, int64_t y2, const Color& color);
  // The same rectangle's edge, `thickness` pixels wide, inside of it.
  void frame(int64_t x1, int64_t y1, int64_t x2, int64_t y2, int64_t thickness, const Color& color);
  // A line of text with its upper left corner at (x, y); a glyph's pixel is `scale` pixels wide.
  // The font has ASCII only: bytes that it lacks are question marks.
  void text(int64_t x, int64_t y, std::string_view line, int64_t scale, const Color& color);

  Color at(int64_t x, int64_t y) const;
  // The picture as the bytes of a PNG file.
  std::vector<uint8_t> png() const;

 private:
  size_t index(int64_t x, int64_t y) const { return 3 * static_cast<size_t>(y * width_ + x); }

  int64_t width_, height_;
  std::vector<uint8_t> pixels_;
};

// Measures of the font at scale 1.
constexpr int64_t kGlyphHeight = 7;  // descenders left out
constexpr int64_t kLineHeight = 12;
int64_t text_width(std::string_view line);
// How many of the first bytes of `line` are at most `width` wide together. Looks at no more of them
// than that and one.
size_t fitting_length(std::string_view line, int64_t width);

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_CANVAS_H_
