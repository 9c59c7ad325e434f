#include "engine/image/exif.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/image/stb.h"
#include "engine/io/limits.h"

namespace lightcap::internal {
namespace {

constexpr int kUpright = 1;
constexpr uint16_t kOrientationTag = 0x0112;
constexpr uint16_t kShort = 3;

// A slice of bytes read at offsets; outside it every number is 0.
struct Slice {
  const uint8_t* data;
  size_t size;
  bool big_endian = true;

  bool holds(size_t offset, size_t count) const { return offset <= size && count <= size - offset; }
  uint32_t number(size_t offset, size_t bytes) const {
    if (!holds(offset, bytes)) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i) {
      const size_t at = offset + (big_endian ? i : bytes - 1 - i);
      value = value << 8 | data[at];
    }
    return value;
  }
  uint32_t u16(size_t offset) const { return number(offset, 2); }
  uint32_t u32(size_t offset) const { return number(offset, 4); }
  bool equals(size_t offset, const char* text, size_t count) const {
    return holds(offset, count) && std::memcmp(data + offset, text, count) == 0;
  }
  bool begins_with(std::string_view text) const { return equals(0, text.data(), text.size()); }
  // The offset of the next zero byte; the size if there is none.
  size_t zero_at(size_t offset) const {
    if (offset >= size) return size;
    const void* zero = std::memchr(data + offset, 0, size - offset);
    return zero == nullptr ? size : static_cast<size_t>(static_cast<const uint8_t*>(zero) - data);
  }
  Slice from(size_t offset) const { return part(offset, size - std::min(offset, size)); }
  Slice part(size_t offset, size_t count) const {
    if (!holds(offset, count)) return {data, 0};
    return {data + offset, count};
  }
};

using namespace std::string_view_literals;
constexpr std::string_view kExifPrefix = "Exif\0\0"sv;
constexpr std::string_view kXmpPrefix = "http://ns.adobe.com/xap/1.0/\0"sv;

// The orientation in a TIFF header's first directory; nothing if it is not mentioned.
std::optional<int> orientation_of_tiff(Slice tiff) {
  if (tiff.equals(0, "II*\0", 4)) {
    tiff.big_endian = false;
  } else if (!tiff.equals(0, "MM\0*", 4)) {
    return std::nullopt;
  }
  const size_t directory = tiff.u32(4);
  const size_t entries = tiff.u16(directory);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (!tiff.holds(entry, 12)) return std::nullopt;
    if (tiff.u16(entry) != kOrientationTag) continue;
    const uint32_t value = tiff.u16(entry + 8);
    return tiff.u16(entry + 2) == kShort && value >= 1 && value <= 8 ? static_cast<int>(value)
                                                                     : kUpright;
  }
  return std::nullopt;
}

// The first tiff:Orientation of an XMP packet, as an attribute or an element. XML is not parsed:
// the name has no other use.
std::optional<int> orientation_of_xmp(const Slice& packet) {
  constexpr std::string_view kName = "tiff:Orientation";
  const std::string_view text(reinterpret_cast<const char*>(packet.data), packet.size);
  const auto skip_spaces = [&](size_t at) { return text.find_first_not_of(" \t\r\n", at); };
  const auto character = [&](size_t at) { return at < text.size() ? text[at] : '\0'; };
  for (size_t found = text.find(kName); found != std::string_view::npos;
       found = text.find(kName, found + kName.size())) {
    size_t at = skip_spaces(found + kName.size());
    if (character(at) == '=') {
      at = skip_spaces(at + 1);
      if (character(at) != '"' && character(at) != '\'') continue;
    } else if (character(at) != '>') {
      continue;
    }
    const char digit = character(skip_spaces(at + 1));
    if (digit < '0' || digit > '9') continue;
    return digit >= '1' && digit <= '8' ? digit - '0' : kUpright;
  }
  return std::nullopt;
}

// Walks the segments before the picture's data.
int orientation_of_jpeg(const Slice& file, const Interruption* interruption) {
  std::optional<int> exif, xmp;
  bool exif_seen = false;
  size_t at = 2;
  while (file.holds(at, 4) && file.data[at] == 0xff) {
    check_interruption(interruption);
    const uint8_t marker = file.data[at + 1];
    if (marker == 0xff) {  // filling
      ++at;
      continue;
    }
    const size_t length = file.u16(at + 2);
    if (marker == 0xda || marker == 0xd9 || length < 2) break;
    const Slice content = file.part(at + 4, length - 2);
    if (marker == 0xe1 && !exif_seen && content.begins_with(kExifPrefix)) {
      exif_seen = true;
      exif = orientation_of_tiff(content.from(kExifPrefix.size()));
    } else if (marker == 0xe1 && !xmp && content.begins_with(kXmpPrefix)) {
      xmp = orientation_of_xmp(content.from(kXmpPrefix.size()));
    }
    at += 2 + length;
  }
  return exif ? *exif : xmp.value_or(kUpright);
}

// A text chunk of a PNG.
struct Text {
  Slice content = {nullptr, 0};
  bool packed = false;

  bool exists() const { return content.data != nullptr; }
};

// Calls read(block) with the text, unpacked if need be.
template <class Read>
void with_text(const Text& text, const Interruption* interruption, Read&& read) {
  check_interruption(interruption);
  if (!text.exists()) return;
  if (!text.packed) {
    if (text.content.size <= limits::kPngText) read(text.content);
    return;
  }
  const StbUnpacked unpacked =
      stb_unpack({text.content.data, text.content.size},
                 {.bytes = limits::kPngText, .interruption = interruption});
  if (unpacked.bytes != nullptr) read(Slice{unpacked.bytes.get(), unpacked.size});
}

// ImageMagick's "Raw profile": a name and a length in lines of their own, then hexadecimal digits.
std::vector<uint8_t> raw_profile(const Slice& text, const Interruption* interruption) {
  size_t at = 0;
  for (int lines = 0; lines < 3 && at < text.size; ++at) lines += text.data[at] == '\n' ? 1 : 0;
  std::vector<uint8_t> bytes;
  int high = -1;
  for (; at < text.size; ++at) {
    if (at % 65536 == 0) check_interruption(interruption);
    const char c = static_cast<char>(text.data[at]);
    int digit = 0;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else if (c == '\n' || c == '\r' || c == ' ') {
      continue;
    } else {
      break;
    }
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<uint8_t>(high * 16 + digit));
      high = -1;
    }
  }
  return bytes;
}

// The chunks of a PNG that may hold its orientation.
struct PngMetadata {
  Slice exif = {nullptr, 0};
  Text raw_exif, raw_app1, raw_xmp, xmp;

  // Takes a chunk's content; the first of each kind counts.
  void add_text(const Slice& chunk, std::string_view type);
  int orientation(const Interruption* interruption) const;

 private:
  std::optional<int> orientation_of_exif(const Slice& block) const {
    const bool prefixed = block.begins_with(kExifPrefix);
    return orientation_of_tiff(block.from(prefixed ? kExifPrefix.size() : 0));
  }
};

void PngMetadata::add_text(const Slice& chunk, std::string_view type) {
  const size_t keyword = chunk.zero_at(0);
  const std::string_view name(reinterpret_cast<const char*>(chunk.data), keyword);
  Text* text = name == "Raw profile type exif"   ? &raw_exif
               : name == "Raw profile type APP1" ? &raw_app1
               : name == "Raw profile type xmp"  ? &raw_xmp
               : name == "XML:com.adobe.xmp"     ? &xmp
                                                 : nullptr;
  if (text == nullptr || text->exists()) return;
  if (type == "tEXt") {
    *text = {chunk.from(keyword + 1), false};
  } else if (type == "zTXt") {  // a byte names the method
    *text = {chunk.from(keyword + 2), true};
  } else {  // iTXt: flag, method, language and a translated keyword
    const size_t language = chunk.zero_at(keyword + 3);
    const size_t translated = chunk.zero_at(language + 1);
    *text = {chunk.from(translated + 1), chunk.number(keyword + 1, 1) != 0};
  }
}

int PngMetadata::orientation(const Interruption* interruption) const {
  std::optional<int> exif_says, xmp_says;
  if (exif.data != nullptr) exif_says = orientation_of_exif(exif);
  const auto read_profile = [&](const Slice& text) {
    const std::vector<uint8_t> bytes = raw_profile(text, interruption);
    const Slice block = {bytes.data(), bytes.size()};
    if (block.begins_with(kXmpPrefix)) {
      xmp_says = orientation_of_xmp(block);
    } else if (exif.data == nullptr && !exif_says) {
      exif_says = orientation_of_exif(block);
    }
  };
  with_text(raw_exif, interruption, read_profile);
  with_text(raw_app1, interruption, read_profile);
  if (exif_says) return *exif_says;
  with_text(xmp, interruption, [&](const Slice& text) {
    if (const std::optional<int> said = orientation_of_xmp(text)) xmp_says = said;
  });
  with_text(raw_xmp, interruption, [&](const Slice& text) {
    const std::vector<uint8_t> bytes = raw_profile(text, interruption);
    if (!xmp_says) xmp_says = orientation_of_xmp({bytes.data(), bytes.size()});
  });
  return xmp_says.value_or(kUpright);
}

int orientation_of_png(const Slice& file, const Interruption* interruption) {
  PngMetadata metadata;
  size_t at = 8;
  while (file.holds(at, 8)) {
    check_interruption(interruption);
    const size_t length = file.u32(at);
    const std::string_view type(reinterpret_cast<const char*>(file.data + at + 4), 4);
    const Slice content = file.part(at + 8, length);
    if (type == "eXIf" && metadata.exif.data == nullptr) metadata.exif = content;
    if (type == "tEXt" || type == "zTXt" || type == "iTXt") metadata.add_text(content, type);
    if (type == "IEND") break;
    if (length > file.size) break;  // would wrap around where sizes have 32 bits
    at += 12 + length;
  }
  return metadata.orientation(interruption);
}

}  // namespace

int exif_orientation(const uint8_t* data, size_t size, const Interruption* interruption) {
  const Slice file = {data, size};
  if (file.equals(0, "\xff\xd8", 2)) return orientation_of_jpeg(file, interruption);
  if (file.equals(0, "\x89PNG", 4)) return orientation_of_png(file, interruption);
  return kUpright;
}

}  // namespace lightcap::internal
