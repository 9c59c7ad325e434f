#include "cli/annotate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace lightcap::internal::cli {
namespace {

constexpr Color kWhite = {255, 255, 255};
constexpr Color kBlack = {0, 0, 0};
// Told apart by colour-blind readers too (Okabe and Ito's palette, without its black).
constexpr Color kBoxColors[] = {{230, 159, 0}, {86, 180, 233}, {0, 158, 115},  {240, 228, 66},
                                {0, 114, 178}, {213, 94, 0},   {204, 121, 167}};
constexpr int64_t kSmallestSide = 640;  // pictures are enlarged by a whole factor to about this
constexpr int64_t kNarrowest = 320;     // room for a line even under a sliver of a picture
constexpr std::string_view kMore = "...";

// A picture's size and the size at which it is drawn.
struct Scaling {
  int64_t width, height;
  int64_t drawn_width, drawn_height;

  explicit Scaling(const ImageView& image)
      : width(static_cast<int64_t>(image.width)), height(static_cast<int64_t>(image.height)) {
    const int64_t longest = std::max({width, height, int64_t{1}});
    const int64_t zoom = std::max<int64_t>(1, (kSmallestSide + longest / 2) / longest);
    const auto drawn = [&](int64_t side) {
      if (longest <= AnnotationLimits::kLongestSide) return side * zoom;
      return std::max<int64_t>(1, side * AnnotationLimits::kLongestSide / longest);
    };
    drawn_width = drawn(width);
    drawn_height = drawn(height);
  }

  // The place at which a coordinate of the picture is drawn, within the drawn picture.
  static int64_t place(float at, int64_t side, int64_t drawn_side) {
    const float scale = static_cast<float>(drawn_side) / static_cast<float>(side);
    const float scaled = at * scale;
    if (!(scaled > 0)) return 0;  // NaN as well
    return std::lround(std::min(scaled, static_cast<float>(drawn_side)));
  }
  int64_t x(float at) const { return place(at, width, drawn_width); }
  int64_t y(float at) const { return place(at, height, drawn_height); }
};

// The pixels of a picture's row or column that one drawn pixel stands for.
struct Range {
  size_t begin, end;
};

std::vector<Range> ranges(int64_t side, int64_t drawn_side) {
  std::vector<Range> all;
  for (int64_t at = 0; at < drawn_side; ++at) {
    const int64_t begin = at * side / drawn_side;
    const int64_t end = std::max(begin + 1, (at + 1) * side / drawn_side);
    all.push_back({static_cast<size_t>(begin), static_cast<size_t>(end)});
  }
  return all;
}

Color mean(const ImageView& image, const Range& rows, const Range& columns) {
  std::array<size_t, 3> sum = {};
  for (size_t y = rows.begin; y < rows.end; ++y) {
    const uint8_t* row = image.data + y * image.row_bytes;
    for (size_t i = 3 * columns.begin; i < 3 * columns.end; i += 3) {
      for (size_t c = 0; c < 3; ++c) sum[c] += row[i + c];
    }
  }
  const size_t count = (rows.end - rows.begin) * (columns.end - columns.begin);
  Color color;
  for (size_t c = 0; c < 3; ++c) color[c] = static_cast<uint8_t>((sum[c] + count / 2) / count);
  return color;
}

// Each pixel is the mean of those that it stands for: one where the picture is enlarged.
void draw_image(Canvas& canvas, const ImageView& image, const Scaling& scaling) {
  const std::vector<Range> rows = ranges(scaling.height, scaling.drawn_height);
  const std::vector<Range> columns = ranges(scaling.width, scaling.drawn_width);
  for (size_t y = 0; y < rows.size(); ++y) {
    for (size_t x = 0; x < columns.size(); ++x) {
      canvas.set(static_cast<int64_t>(x), static_cast<int64_t>(y),
                 mean(image, rows[y], columns[x]));
    }
  }
}

// The text if it is at most `width` wide, else its beginning and dots.
std::string clipped(std::string_view text, int64_t width) {
  const size_t fits = fitting_length(text, width);
  if (fits == text.size()) return std::string(text);
  const size_t begins = fitting_length(text.substr(0, fits), width - text_width(kMore));
  return std::string(text.substr(0, begins)).append(kMore);
}

// Lines of at most `width`, broken at spaces, or within words that are wider than a line. Text
// beyond the last line is not looked at.
std::vector<std::string> wrap(std::string_view text, int64_t width, size_t max_lines) {
  std::vector<std::string> lines;
  while (!text.empty() || lines.empty()) {
    if (lines.size() + 1 == max_lines) {
      lines.push_back(clipped(text, width));
      break;
    }
    size_t length = fitting_length(text, width);
    if (length < text.size()) {
      const size_t space = text.rfind(' ', length);
      if (space != std::string_view::npos && space > 0) length = space;
      length = std::max<size_t>(length, 1);
    }
    lines.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
    if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  }
  return lines;
}

std::string label_text(const lightcap_concept& found, int64_t width) {
  char similarity[16];
  std::snprintf(similarity, sizeof similarity, " %.2f", static_cast<double>(found.similarity));
  // Each glyph takes a column at least.
  const size_t length = strnlen(found.label, static_cast<size_t>(width) + 1);
  return clipped({found.label, length}, width - text_width(similarity)) + similarity;
}

// Labels stand inside their box's upper edge, and move down where another label is already.
void draw_labels(Canvas& canvas, const lightcap_result& result, const Scaling& scaling,
                 int64_t text_scale, size_t count) {
  struct Taken {
    int64_t x1, y1, x2, y2;
  };
  std::vector<Taken> taken;
  for (size_t i = 0; i < count; ++i) {
    const lightcap_concept& found = *lightcap_concept_at(&result, i);
    const int64_t pad = 2 * text_scale;
    const std::string line = label_text(found, (canvas.width() - 2 * pad) / text_scale);
    const int64_t width = text_width(line) * text_scale + 2 * pad;
    const int64_t height = kGlyphHeight * text_scale + 3 * pad;
    const int64_t x = std::clamp<int64_t>(scaling.x(found.box[0]), 0,
                                          std::max<int64_t>(canvas.width() - width, 0));
    int64_t y = std::clamp<int64_t>(scaling.y(found.box[1]), 0,
                                    std::max<int64_t>(scaling.drawn_height - height, 0));
    const auto overlaps = [&](const Taken& t) {
      return x < t.x2 && t.x1 < x + width && y < t.y2 && t.y1 < y + height;
    };
    while (y + 2 * height <= scaling.drawn_height &&
           std::any_of(taken.begin(), taken.end(), overlaps))
      y += height;
    taken.push_back({x, y, x + width, y + height});
    canvas.fill(x, y, x + width, y + height, kBoxColors[i % std::size(kBoxColors)]);
    canvas.text(x + pad, y + pad, line, text_scale, kBlack);
  }
}

void draw_boxes(Canvas& canvas, const lightcap_result& result, const Scaling& scaling,
                size_t count) {
  const int64_t thickness = std::max<int64_t>(2, canvas.width() / 320);
  for (size_t i = count; i-- > 0;) {  // the best proposal last, on top
    const float* box = lightcap_concept_at(&result, i)->box;
    canvas.frame(scaling.x(box[0]), scaling.y(box[1]), scaling.x(box[2]), scaling.y(box[3]),
                 thickness, kBoxColors[i % std::size(kBoxColors)]);
  }
}

}  // namespace

Canvas annotated(const ImageView& image, const lightcap_result& result) {
  const Scaling scaling(image);
  const int64_t width = std::max(scaling.drawn_width, kNarrowest);
  const int64_t text_scale = std::max<int64_t>(2, width / 320);
  const int64_t margin = 4 * text_scale;
  const int64_t columns = (width - 2 * margin) / text_scale;
  // Each glyph takes a column at least, and a line a space.
  const size_t visible = strnlen(
      result.caption, AnnotationLimits::kCaptionLines * static_cast<size_t>(columns + 1) + 1);
  const std::vector<std::string> lines =
      wrap({result.caption, visible}, columns, AnnotationLimits::kCaptionLines);
  const int64_t strip = static_cast<int64_t>(lines.size()) * kLineHeight * text_scale + 2 * margin;
  const int64_t bottom = scaling.drawn_height;
  Canvas canvas(width, bottom + strip);
  draw_image(canvas, image, scaling);
  const size_t count = std::min(result.concept_count, AnnotationLimits::kBoxes);
  draw_boxes(canvas, result, scaling, count);
  draw_labels(canvas, result, scaling, std::max<int64_t>(1, text_scale - 1), count);
  canvas.fill(0, bottom, width, canvas.height(), kWhite);
  for (size_t i = 0; i < lines.size(); ++i) {
    canvas.text(margin, bottom + margin + static_cast<int64_t>(i) * kLineHeight * text_scale,
                lines[i], text_scale, kBlack);
  }
  return canvas;
}

}  // namespace lightcap::internal::cli
