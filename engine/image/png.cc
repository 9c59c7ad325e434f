// PNG, and Apple's variant of it. stb_image unpacks the data; the rest is here, so that a look at
// the host's wish to end it comes between two rows.
#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "engine/image/decoders.h"
#include "engine/io/crc32.h"
#include "engine/io/limits.h"
#include "engine/runtime/block.h"

namespace lightcap::internal {
namespace {

constexpr size_t kSignature = 8;
constexpr size_t kChunkHeader = 8, kChunkEnd = 4;
constexpr size_t kPiece = size_t{1} << 18;  // of bytes that are gone through without a look

enum ColourType : uint8_t { kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6 };

struct PngHeader {
  size_t width = 0, height = 0;
  size_t bits = 0;  // of a value
  uint8_t colour = kGrey;
  bool interlaced = false;
  bool apple = false;  // CgBI
  size_t palette_at = 0, palette_bytes = 0;
  size_t data_at = 0;         // the first IDAT chunk
  uint64_t packed_bytes = 0;  // of all IDAT chunks
  bool one_chunk = false;     // there is one

  bool has_colours() const { return colour == kRgb || colour == kRgba; }
  // Their order and multiplication by alpha are Apple's.
  bool apple_colours() const { return apple && has_colours(); }

  size_t channels() const {
    switch (colour) {
      case kRgb:
        return 3;
      case kGreyAlpha:
        return 2;
      case kRgba:
        return 4;
      default:
        return 1;
    }
  }
  size_t row_bytes(size_t row_width) const { return (channels() * bits * row_width + 7) / 8; }
};

// Pixels that are stored together: all, or every so manyth from a first one on.
struct Pass {
  size_t x, y, step_x, step_y;

  size_t width(const PngHeader& header) const { return count(header.width, x, step_x); }
  size_t height(const PngHeader& header) const { return count(header.height, y, step_y); }

 private:
  static size_t count(size_t size, size_t first, size_t step) {
    return size > first ? (size - first + step - 1) / step : 0;
  }
};

std::span<const Pass> passes_of(const PngHeader& header) {
  static constexpr Pass kWhole[] = {{0, 0, 1, 1}};
  static constexpr Pass kInterlaced[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                         {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
  if (header.interlaced) return kInterlaced;
  return kWhole;
}

void read_size(const EncodedImage& file, size_t at, size_t length, PngHeader& header) {
  const auto damaged = [&](const std::string& what) {
    file.refuse("the PNG's header is damaged: " + what);
  };
  if (header.width != 0) damaged("there are two");
  if (length != 13) damaged("it has " + std::to_string(length) + " bytes, expected are 13");
  header.width = file.big_endian_u32(at);
  header.height = file.big_endian_u32(at + 4);
  file.check_size(header.width, header.height);
  header.bits = file.data[at + 8];
  header.colour = file.data[at + 9];
  if (header.colour > kRgba || header.colour == 1 || header.colour == 5)
    damaged("its colour type is " + std::to_string(header.colour));
  const bool known = header.bits == 8 || (header.bits == 16 && header.colour != kPalette) ||
                     ((header.bits == 1 || header.bits == 2 || header.bits == 4) &&
                      (header.colour == kGrey || header.colour == kPalette));
  if (!known) {
    damaged("its colour type, " + std::to_string(header.colour) + ", does not go with " +
            std::to_string(header.bits) + " bits");
  }
  if (file.data[at + 10] != 0 || file.data[at + 11] != 0 || file.data[at + 12] > 1)
    damaged("it asks for an unknown compression, filter or interlacing");
  header.interlaced = file.data[at + 12] == 1;
}

// Calls f(data, bytes) for the parts of a chunk, with a look between them.
template <class F>
void in_pieces(const EncodedImage& file, size_t at, size_t bytes, const F& f) {
  for (const size_t end = at + bytes; at < end;) {
    check_interruption(file.use.interruption);
    const size_t piece = std::min(kPiece, end - at);
    f(file.data + at, piece);
    at += piece;
  }
}

uint32_t checksum(const EncodedImage& file, size_t at, size_t bytes) {
  uint32_t sum = 0;
  in_pieces(file, at, bytes,
            [&](const uint8_t* data, size_t piece) { sum = crc32(data, piece, sum); });
  return sum;
}

// Chunks that are not known may be passed over if their name begins with a small letter.
void check_kind(const EncodedImage& file, size_t at) {
  if ((file.data[at + 4] & 0x20) != 0) return;
  file.refuse("the PNG has a chunk at byte " + std::to_string(at) +
              " of an unknown kind that its pixels depend on");
}

// Goes over all chunks.
PngHeader read_chunks(const EncodedImage& file) {
  PngHeader header;
  size_t at = kSignature;
  while (true) {
    check_interruption(file.use.interruption);
    if (file.size - at < kChunkHeader + kChunkEnd)
      file.refuse("the PNG is cut short after " + std::to_string(file.size) + " bytes");
    const size_t length = file.big_endian_u32(at), left = file.size - at - kChunkHeader - kChunkEnd;
    const size_t content = at + kChunkHeader;
    const auto is = [&](const char* name) { return std::memcmp(file.data + at + 4, name, 4) == 0; };
    if (length > left) {
      file.refuse("the PNG is cut short: a chunk at byte " + std::to_string(at) + " wants " +
                  std::to_string(length) + " bytes, " + std::to_string(left) + " are left");
    }
    if (checksum(file, at + 4, length + 4) != file.big_endian_u32(content + length)) {
      file.refuse("the PNG is damaged: the checksum of the chunk at byte " + std::to_string(at) +
                  " does not match");
    }
    if (is("IHDR")) {
      read_size(file, content, length, header);
    } else if (is("CgBI")) {
      header.apple = true;
    } else if (header.width == 0) {
      file.refuse("the PNG is damaged: it does not begin with its header");
    } else if (is("PLTE")) {
      // One behind the pixels' data comes too late, as it does for every decoder.
      if (header.data_at == 0) {
        header.palette_at = content;
        header.palette_bytes = length;
      }
    } else if (is("IDAT")) {
      header.one_chunk = header.data_at == 0;
      if (header.one_chunk) header.data_at = at;
      header.packed_bytes += length;
    } else if (is("IEND")) {
      return header;
    } else {
      check_kind(file, at);
    }
    at = content + length + kChunkEnd;
  }
}

// The size that the compressed data of a complete picture unpack to: rows with a filter byte each.
uint64_t unpacked_bytes(const PngHeader& header) {
  uint64_t bytes = 0;
  for (const Pass& pass : passes_of(header)) {
    const size_t width = pass.width(header);
    if (width > 0) bytes += uint64_t{1 + header.row_bytes(width)} * pass.height(header);
  }
  return bytes;
}

void check_bytes(const EncodedImage& file, const PngHeader& header) {
  if (header.data_at == 0) file.refuse("the PNG is damaged: it has no data of pixels");
  const uint64_t unpacked = unpacked_bytes(header);
  // stb_image counts in int, which only limits far above the usual ones allow to exceed.
  if (unpacked > INT_MAX) {
    file.refuse("the PNG has " + std::to_string(unpacked) + " bytes of pixels, the limit is " +
                std::to_string(INT_MAX));
  }
  const uint64_t most_packed = limits::png_packed_bytes(unpacked);
  if (header.packed_bytes > most_packed) {
    file.refuse("the PNG has " + std::to_string(header.packed_bytes) +
                " bytes of compressed data, the limit for a picture of this size is " +
                std::to_string(most_packed));
  }
}

// The data of all IDAT chunks.
std::vector<uint8_t> joined_data(const EncodedImage& file, const PngHeader& header) {
  std::vector<uint8_t> data;
  data.reserve(header.packed_bytes);
  prefer_huge_pages(data.data(), data.capacity());  // given back in a tenth of the time
  for (size_t at = header.data_at; data.size() < header.packed_bytes;) {
    const size_t length = file.big_endian_u32(at);
    if (std::memcmp(file.data + at + 4, "IDAT", 4) == 0) {
      in_pieces(file, at + kChunkHeader, length, [&](const uint8_t* from, size_t piece) {
        data.insert(data.end(), from, from + piece);
      });
    }
    at += kChunkHeader + length + kChunkEnd;
  }
  return data;
}

[[noreturn]] void refuse_damaged(const EncodedImage& file, const std::string& reason) {
  file.refuse("the PNG cannot be decoded, it is damaged: " + reason);
}

// The rows of all passes, at least as many as there should be: data behind them are seen in real
// files.
StbUnpacked unpacked_rows(const EncodedImage& file, const PngHeader& header) {
  const uint64_t expected = unpacked_bytes(header);
  std::vector<uint8_t> joined;
  PackedBytes packed = {file.data + header.data_at + kChunkHeader, header.packed_bytes, expected,
                        !header.apple};
  if (!header.one_chunk) {
    joined = joined_data(file, header);
    packed.data = joined.data();
  }
  constexpr uint64_t kSlack = uint64_t{1} << 19;
  const uint64_t limit = kSlack + 2 * expected;
  StbUnpacked rows = stb_unpack(packed, {.bytes = limit, .interruption = file.use.interruption});
  if (rows.bytes == nullptr) file.refuse_undecoded("PNG", limit, rows);
  if (rows.size < expected) refuse_damaged(file, "not enough pixels");
  return rows;
}

uint8_t paeth(int left, int above, int corner) {
  const int to_left = std::abs(above - corner), to_above = std::abs(left - corner);
  const int to_corner = std::abs(left + above - 2 * corner);
  const int nearer = to_above <= to_corner ? above : corner;
  return static_cast<uint8_t>(to_left <= std::min(to_above, to_corner) ? left : nearer);
}

// Takes a row's filter off: each byte is stored without what three bytes foretell, those of the
// pixel at its left, of the row above, and of the pixel at its left there. A pixel has kStep bytes.
// False if there is no such filter.
template <size_t kStep>
bool unfilter(uint8_t filter, uint8_t* row, const uint8_t* above, size_t bytes) {
  std::array<uint8_t, kStep> left = {}, corner = {};
  const auto add = [&](auto&& foretold) {
    for (size_t at = 0; at < bytes; at += kStep) {
      for (size_t c = 0; c < kStep; ++c) {
        const uint8_t up = above[at + c];
        left[c] = static_cast<uint8_t>(row[at + c] + foretold(left[c], up, corner[c]));
        row[at + c] = left[c];
        corner[c] = up;
      }
    }
    return true;
  };
  switch (filter) {
    case 0:
      return true;
    case 1:
      return add([](uint8_t by, uint8_t, uint8_t) { return by; });
    case 2:
      return add([](uint8_t, uint8_t by, uint8_t) { return by; });
    case 3:
      return add([](uint8_t a, uint8_t b, uint8_t) { return static_cast<uint8_t>((a + b) / 2); });
    case 4:
      return add([](uint8_t a, uint8_t b, uint8_t c) { return paeth(a, b, c); });
    default:
      return false;
  }
}

auto unfilter_of(const PngHeader& header) {
  switch (header.channels() * header.bits / 8) {
    case 2:
      return unfilter<2>;
    case 3:
      return unfilter<3>;
    case 4:
      return unfilter<4>;
    case 6:
      return unfilter<6>;
    case 8:
      return unfilter<8>;
    default:  // several pixels a byte count as one
      return unfilter<1>;
  }
}

// Turns pixels as they are stored into RGB.
class Colours {
 public:
  Colours(const EncodedImage& file, const PngHeader& header) : header_(header) {
    if (header.colour == kPalette) {
      const size_t bytes = header.palette_bytes;
      if (bytes == 0 || bytes > table_.size() || bytes % 3 != 0) {
        file.refuse("the PNG is damaged: its palette has " + std::to_string(bytes) + " bytes");
      }
      std::copy_n(file.data + header.palette_at, bytes, table_.begin());
    } else if (is_indexed()) {
      const size_t largest = (size_t{1} << header.bits) - 1;
      for (size_t value = 0; value <= largest; ++value)
        std::fill_n(&table_[3 * value], 3, static_cast<uint8_t>(value * 255 / largest));
    }
  }

  // Writes a row's pixels, each `out_step` bytes after the one before.
  void show(const uint8_t* row, size_t width, uint8_t* out, size_t out_step) const {
    if (is_indexed()) {
      show_indexed(row, width, out, out_step);
    } else if (header_.apple_colours()) {
      show_apples(row, width, out, out_step);
    } else if (header_.colour == kRgb && header_.bits == 8 && out_step == 3) {
      std::memcpy(out, row, 3 * width);
    } else {
      const size_t bytes = header_.bits / 8, step = header_.channels() * bytes;
      const size_t next = header_.has_colours() ? bytes : 0;
      for (size_t x = 0; x < width; ++x, row += step, out += out_step) {
        for (size_t c = 0; c < 3; ++c) out[c] = row[c * next];
      }
    }
  }

 private:
  // Values are places in the table: of palettes, and of grey, though not of 16 bits.
  bool is_indexed() const { return header_.channels() == 1 && header_.bits <= 8; }

  void show_indexed(const uint8_t* row, size_t width, uint8_t* out, size_t out_step) const {
    const size_t bits = header_.bits, mask = (size_t{1} << bits) - 1;
    for (size_t x = 0; x < width; ++x, out += out_step) {
      const size_t value = row[x * bits / 8] >> (8 - bits - x * bits % 8) & mask;
      std::memcpy(out, &table_[3 * value], 3);
    }
  }

  // Apple's pngcrush stores blue first and, with alpha, colours multiplied by it.
  void show_apples(const uint8_t* row, size_t width, uint8_t* out, size_t out_step) const {
    const size_t bytes = header_.bits / 8, step = header_.channels() * bytes;
    for (size_t x = 0; x < width; ++x, row += step, out += out_step) {
      const uint32_t alpha = header_.colour == kRgba ? row[3 * bytes] : 255;
      for (size_t c = 0; c < 3; ++c) {
        const uint32_t value = row[(2 - c) * bytes];
        out[c] = static_cast<uint8_t>(
            alpha == 0 ? value : std::min((value * 255 + alpha / 2) / alpha, uint32_t{255}));
      }
    }
  }

  const PngHeader& header_;
  std::array<uint8_t, 768> table_ = {};  // black behind the palette's colours
};

}  // namespace

Image decode_png(const EncodedImage& file) {
  const PngHeader header = read_chunks(file);
  check_bytes(file, header);
  const Colours colours(file, header);
  const StbUnpacked rows = unpacked_rows(file, header);
  Image image = blank_image(header.width, header.height);
  const auto unfilter_row = unfilter_of(header);
  uint8_t* row = rows.bytes.get();
  for (const Pass& pass : passes_of(header)) {
    const size_t width = pass.width(header), bytes = header.row_bytes(width);
    if (width == 0) continue;
    const std::vector<uint8_t> nothing(bytes);
    const uint8_t* above = nothing.data();
    for (size_t y = pass.y; y < header.height; y += pass.step_y) {
      check_interruption(file.use.interruption);
      const uint8_t filter = *row++;
      if (!unfilter_row(filter, row, above, bytes)) refuse_damaged(file, "invalid filter");
      colours.show(row, width, image.pixels.get() + 3 * (y * header.width + pass.x),
                   3 * pass.step_x);
      above = row;
      row += bytes;
    }
  }
  return image;
}

}  // namespace lightcap::internal
