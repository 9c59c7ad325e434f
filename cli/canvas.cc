#include "cli/canvas.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "engine/runtime/error.h"

namespace lightcap::internal::cli {
namespace {

// The memory of one call of stb_image_write, which does not look whether it got any. An exception
// goes through it, and what it held is freed here.
class WriterHeap {
 public:
  WriterHeap() { current = this; }
  ~WriterHeap() {
    while (first_.next != &first_) release(first_.next + 1);
    current = nullptr;
  }
  WriterHeap(const WriterHeap&) = delete;
  WriterHeap& operator=(const WriterHeap&) = delete;

  void* allocate(size_t bytes) {
    auto* block = static_cast<Block*>(std::malloc(sizeof(Block) + bytes));
    if (block == nullptr) throw std::bad_alloc();
    *block = {&first_, first_.next};
    link(block);
    return block + 1;
  }
  void* reallocate(void* old, size_t bytes) {
    if (old == nullptr) return allocate(bytes);
    auto* block =
        static_cast<Block*>(std::realloc(static_cast<Block*>(old) - 1, sizeof(Block) + bytes));
    if (block == nullptr) throw std::bad_alloc();
    link(block);
    return block + 1;
  }
  void release(void* memory) {
    if (memory == nullptr) return;
    Block* block = static_cast<Block*>(memory) - 1;
    block->previous->next = block->next;
    block->next->previous = block->previous;
    std::free(block);
  }

  static thread_local WriterHeap* current;

 private:
  struct alignas(std::max_align_t) Block {
    Block *previous, *next;
  };
  static void link(Block* block) { block->previous->next = block->next->previous = block; }

  Block first_ = {&first_, &first_};
};

thread_local WriterHeap* WriterHeap::current = nullptr;

}  // namespace
}  // namespace lightcap::internal::cli

// Static, so that a host with stb of its own sees no second copy.
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBIW_MALLOC(bytes) lightcap::internal::cli::WriterHeap::current->allocate(bytes)
#define STBIW_REALLOC(memory, bytes) \
  lightcap::internal::cli::WriterHeap::current->reallocate(memory, bytes)
#define STBIW_FREE(memory) lightcap::internal::cli::WriterHeap::current->release(memory)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb_easy_font.h>
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace lightcap::internal::cli {
namespace {

char drawable(char c) { return c >= ' ' && c < 127 ? c : '?'; }

int64_t glyph_width(char c) { return stb_easy_font_charinfo[drawable(c) - ' '].advance & 15; }

struct Vertex {
  float x, y, z;
  uint8_t color[4];
};

// The rectangles that make up a glyph, as the font's library leaves them: four corners each.
struct Glyph {
  static constexpr size_t kMaxQuads = 64;  // twice what any glyph of the font has
  std::array<Vertex, 4 * kMaxQuads> corners;
  size_t quads;

  explicit Glyph(char c) {
    char line[] = {drawable(c), '\0'};
    quads = static_cast<size_t>(
        stb_easy_font_print(0, 0, line, nullptr, corners.data(), static_cast<int>(sizeof corners)));
  }
};

}  // namespace

Canvas::Canvas(int64_t width, int64_t height) : width_(width), height_(height) {
  // The PNG writer holds each row with one byte before it.
  if (width < 1 || height < 1 || width > INT_MAX / 3 - 1 || height > INT_MAX / (3 * width + 1)) {
    throw Error(ErrorCode::kOutput, "cannot draw a picture of " + std::to_string(width) + " x " +
                                        std::to_string(height) +
                                        " pixels: a PNG is limited to 2 GiB before compression");
  }
  pixels_.assign(3 * static_cast<size_t>(width) * static_cast<size_t>(height), 255);
}

void Canvas::set(int64_t x, int64_t y, const Color& color) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  std::memcpy(&pixels_[index(x, y)], color.data(), color.size());
}

void Canvas::fill(int64_t x1, int64_t y1, int64_t x2, int64_t y2, const Color& color) {
  x1 = std::max<int64_t>(x1, 0);
  x2 = std::min(x2, width_);
  for (int64_t y = std::max<int64_t>(y1, 0); y < std::min(y2, height_); ++y) {
    for (int64_t x = x1; x < x2; ++x) set(x, y, color);
  }
}

void Canvas::frame(int64_t x1, int64_t y1, int64_t x2, int64_t y2, int64_t thickness,
                   const Color& color) {
  fill(x1, y1, x2, y1 + thickness, color);
  fill(x1, y2 - thickness, x2, y2, color);
  fill(x1, y1, x1 + thickness, y2, color);
  fill(x2 - thickness, y1, x2, y2, color);
}

void Canvas::text(int64_t x, int64_t y, std::string_view line, int64_t scale, const Color& color) {
  if (y >= height_ || y + kLineHeight * scale < 0) return;
  for (const char c : line) {
    if (x >= width_) return;
    const int64_t next = x + glyph_width(c) * scale;
    if (next >= 0) {
      const Glyph glyph(c);
      const auto place = [&](int64_t origin, float at) {
        return origin + static_cast<int64_t>(std::lround(at)) * scale;
      };
      for (size_t i = 0; i < glyph.quads; ++i) {
        const Vertex& from = glyph.corners[4 * i];
        const Vertex& to = glyph.corners[4 * i + 2];
        fill(place(x, from.x), place(y, from.y), place(x, to.x), place(y, to.y), color);
      }
    }
    x = next;
  }
}

Color Canvas::at(int64_t x, int64_t y) const {
  const size_t i =
      index(std::clamp<int64_t>(x, 0, width_ - 1), std::clamp<int64_t>(y, 0, height_ - 1));
  return {pixels_[i], pixels_[i + 1], pixels_[i + 2]};
}

std::vector<uint8_t> Canvas::png() const {
  const auto columns = static_cast<int>(width_), rows = static_cast<int>(height_);
  int size = 0;
  const WriterHeap heap;
  const uint8_t* bytes =
      stbi_write_png_to_mem(pixels_.data(), 3 * columns, columns, rows, 3, &size);
  if (bytes == nullptr) throw std::bad_alloc();
  return {bytes, bytes + size};
}

int64_t text_width(std::string_view line) {
  int64_t width = 0;
  for (const char c : line) width += glyph_width(c);
  return width;
}

size_t fitting_length(std::string_view line, int64_t width) {
  size_t length = 0;
  for (int64_t used = 0; length < line.size(); ++length) {
    used += glyph_width(line[length]);
    if (used > width) break;
  }
  return length;
}

}  // namespace lightcap::internal::cli
