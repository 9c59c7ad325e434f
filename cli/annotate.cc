#include "cli/annotate.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/runtime/error.h"

// Static, so that a host with stb of its own sees no second copy.
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb_easy_font.h>
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace lightcap::cli {
namespace {

using Color = std::array<uint8_t, 3>;

constexpr Color kWhite = {255, 255, 255};
constexpr Color kBlack = {0, 0, 0};
// Told apart by colour-blind readers too (Okabe and Ito's palette, without its black).
constexpr Color kBoxColors[] = {{230, 159, 0}, {86, 180, 233}, {0, 158, 115},  {240, 228, 66},
                                {0, 114, 178}, {213, 94, 0},   {204, 121, 167}};
constexpr int kGlyphHeight = 7;  // of stb_easy_font at scale 1, descenders left out
constexpr int kLineHeight = 12;
constexpr int kSmallestSide = 640;  // pictures are enlarged by a whole factor to about this

class Canvas {
 public:
  Canvas(int columns, int rows)
      : width(columns),
        height(rows),
        pixels_(static_cast<size_t>(columns) * static_cast<size_t>(rows) * 3, 255) {}

  const int width, height;
  const uint8_t* data() const { return pixels_.data(); }

  void fill(int x1, int y1, int x2, int y2, const Color& color) {
    for (int y = std::max(y1, 0); y < std::min(y2, height); ++y) {
      for (int x = std::max(x1, 0); x < std::min(x2, width); ++x) set(x, y, color.data());
    }
  }
  void frame(int x1, int y1, int x2, int y2, int thickness, const Color& color) {
    fill(x1, y1, x2, y1 + thickness, color);
    fill(x1, y2 - thickness, x2, y2, color);
    fill(x1, y1, x1 + thickness, y2, color);
    fill(x2 - thickness, y1, x2, y2, color);
  }
  void set(int x, int y, const uint8_t* color) {
    std::memcpy(&pixels_[3 * (static_cast<size_t>(y) * static_cast<size_t>(width) +
                              static_cast<size_t>(x))],
                color, 3);
  }
  // Text with its upper left corner at (x, y); a glyph's pixel is `scale` pixels wide.
  void text(int x, int y, std::string line, int scale, const Color& color) {
    struct Vertex {
      float x, y, z;
      uint8_t color[4];
    };
    std::vector<Vertex> vertices(line.size() * 68 + 68);  // 17 quads a character are plenty
    const int quads = stb_easy_font_print(0, 0, line.data(), nullptr, vertices.data(),
                                          static_cast<int>(vertices.size() * sizeof(Vertex)));
    const auto place = [&](int origin, float at) {
      return origin + static_cast<int>(std::lround(at)) * scale;
    };
    for (int i = 0; i < quads; ++i) {
      const Vertex& from = vertices[static_cast<size_t>(4 * i)];
      const Vertex& to = vertices[static_cast<size_t>(4 * i + 2)];
      fill(place(x, from.x), place(y, from.y), place(x, to.x), place(y, to.y), color);
    }
  }

 private:
  std::vector<uint8_t> pixels_;
};

int text_width(std::string line, int scale) { return stb_easy_font_width(line.data()) * scale; }

// The font has ASCII only.
std::string printable(const std::string& text) {
  std::string out = text;
  for (char& c : out) c = c >= ' ' && c < 127 ? c : '?';
  return out;
}

std::vector<std::string> wrap(const std::string& text, int width, int scale) {
  std::vector<std::string> lines(1);
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    const std::string longer = lines.back().empty() ? word : lines.back() + " " + word;
    if (lines.back().empty() || text_width(longer, scale) <= width) {
      lines.back() = longer;
    } else {
      lines.push_back(word);
    }
    begin = end + 1;
  }
  return lines;
}

void draw_image(Canvas& canvas, const Image& image, int zoom) {
  const ImageView view = image.view();
  for (int y = 0; y < static_cast<int>(view.height) * zoom; ++y) {
    for (int x = 0; x < static_cast<int>(view.width) * zoom; ++x) {
      canvas.set(x, y,
                 view.data + static_cast<size_t>(y / zoom) * view.row_bytes +
                     3 * static_cast<size_t>(x / zoom));
    }
  }
}

// Labels stand inside their box's upper edge, and move down where another label is already.
void draw_concepts(Canvas& canvas, const lightcap_result& result, int zoom, int text_scale,
                   int image_height) {
  struct Taken {
    int x1, y1, x2, y2;
  };
  std::vector<Taken> taken;
  const int thickness = std::max(2, canvas.width / 320);
  for (size_t i = result.concept_count; i-- > 0;) {  // the best proposal last, on top
    const lightcap_concept& found = result.concepts[i];
    const Color& color = kBoxColors[i % std::size(kBoxColors)];
    const auto at = [&](int k) {
      return static_cast<int>(std::lround(found.box[k] * static_cast<float>(zoom)));
    };
    canvas.frame(at(0), at(1), at(2), at(3), thickness, color);
  }
  for (size_t i = 0; i < result.concept_count; ++i) {
    const lightcap_concept& found = result.concepts[i];
    char similarity[16];
    std::snprintf(similarity, sizeof similarity, " %.2f", static_cast<double>(found.similarity));
    const std::string line = printable(found.label) + similarity;
    const int pad = 2 * text_scale;
    const int width = text_width(line, text_scale) + 2 * pad,
              height = kGlyphHeight * text_scale + 3 * pad;
    int x = static_cast<int>(std::lround(found.box[0] * static_cast<float>(zoom)));
    int y = static_cast<int>(std::lround(found.box[1] * static_cast<float>(zoom)));
    x = std::clamp(x, 0, std::max(canvas.width - width, 0));
    y = std::clamp(y, 0, std::max(image_height - height, 0));
    const auto overlaps = [&](const Taken& t) {
      return x < t.x2 && t.x1 < x + width && y < t.y2 && t.y1 < y + height;
    };
    while (y + 2 * height <= image_height && std::any_of(taken.begin(), taken.end(), overlaps))
      y += height;
    taken.push_back({x, y, x + width, y + height});
    canvas.fill(x, y, x + width, y + height, kBoxColors[i % std::size(kBoxColors)]);
    canvas.text(x + pad, y + pad, line, text_scale, kBlack);
  }
}

}  // namespace

void write_annotated(const std::string& path, const Image& image, const lightcap_result& result) {
  const int width = static_cast<int>(image.width), height = static_cast<int>(image.height);
  const int zoom =
      std::max(1, (kSmallestSide + std::max(width, height) / 2) / std::max({width, height, 1}));
  // Room for a line even under a sliver of a picture.
  const int canvas_width = std::max(width * zoom, 320);
  const int text_scale = std::max(2, canvas_width / 320);
  const int margin = 4 * text_scale;
  const std::vector<std::string> lines =
      wrap(printable(result.caption), canvas_width - 2 * margin, text_scale);
  const int strip = static_cast<int>(lines.size()) * kLineHeight * text_scale + 2 * margin;
  Canvas canvas(canvas_width, height * zoom + strip);
  draw_image(canvas, image, zoom);
  draw_concepts(canvas, result, zoom, std::max(1, text_scale - 1), height * zoom);
  canvas.fill(0, height * zoom, canvas_width, canvas.height, kWhite);
  for (size_t i = 0; i < lines.size(); ++i) {
    canvas.text(margin, height * zoom + margin + static_cast<int>(i) * kLineHeight * text_scale,
                lines[i], text_scale, kBlack);
  }
  int size = 0;
  const std::unique_ptr<unsigned char, decltype(&std::free)> png(
      stbi_write_png_to_mem(canvas.data(), 3 * canvas.width, canvas.width, canvas.height, 3, &size),
      &std::free);
  if (png == nullptr) throw std::bad_alloc();
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "wb"), &std::fclose);
  if (file == nullptr ||
      std::fwrite(png.get(), 1, static_cast<size_t>(size), file.get()) !=
          static_cast<size_t>(size) ||
      std::fflush(file.get()) != 0) {
    throw Error(ErrorCode::kOutput,
                path + ": cannot write the annotated picture: " + std::strerror(errno));
  }
}

}  // namespace lightcap::cli
