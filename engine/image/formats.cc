#include "engine/image/formats.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

using namespace std::string_view_literals;

struct Accepted {
  std::string_view bytes;
  ImageFormat format;
};
constexpr Accepted kAccepted[] = {
    {"\xff\xd8\xff"sv, ImageFormat::kJpeg},
    {"\x89PNG\r\n\x1a\n"sv, ImageFormat::kPng},
    {"BM"sv, ImageFormat::kBmp},
    {"P5"sv, ImageFormat::kPnm},
    {"P6"sv, ImageFormat::kPnm},
};

struct Named {
  std::string_view bytes;
  size_t offset;
  const char* name;
};

constexpr Named kNamed[] = {
    {"GIF8"sv, 0, "a GIF"},
    {"WEBP"sv, 8, "a WebP picture"},
    {"AVI "sv, 8, "a video (AVI)"},
    {"WAVE"sv, 8, "a sound file"},
    {"II*\0\x10\0\0\0CR"sv, 0, "a camera's raw picture"},
    {"II*\0"sv, 0, "a TIFF picture"},
    {"MM\0*"sv, 0, "a TIFF picture"},
    {"II+\0"sv, 0, "a BigTIFF picture"},
    {"MM\0+"sv, 0, "a BigTIFF picture"},
    {"IIU\0"sv, 0, "a camera's raw picture"},
    {"IIRO"sv, 0, "a camera's raw picture"},
    {"IIRS"sv, 0, "a camera's raw picture"},
    {"FUJIFILMCCD-RAW"sv, 0, "a camera's raw picture"},
    {"II\xbc"sv, 0, "a JPEG XR picture"},
    {"\xff\x0a"sv, 0, "a JPEG XL picture"},
    {"\0\0\0\x0cJXL "sv, 0, "a JPEG XL picture"},
    {"\0\0\0\x0cjP  "sv, 0, "a JPEG 2000 picture"},
    {"\xff\x4f\xff\x51"sv, 0, "a JPEG 2000 picture"},
    {"\x8bJNG"sv, 0, "a JNG picture"},
    {"\x8aMNG"sv, 0, "an animation (MNG)"},
    {"\0\0\1\0"sv, 0, "an icon (ICO)"},
    {"\0\0\2\0"sv, 0, "a cursor (CUR)"},
    {"icns"sv, 0, "an icon (ICNS)"},
    {"qoif"sv, 0, "a QOI picture"},
    {"BPG\xfb"sv, 0, "a BPG picture"},
    {"FLIF"sv, 0, "a FLIF picture"},
    {"farbfeld"sv, 0, "a farbfeld picture"},
    {"DDS "sv, 0, "a DDS texture"},
    {"\xabKTX "sv, 0, "a KTX texture"},
    {"\x76\x2f\x31\x01"sv, 0, "an OpenEXR picture"},
    {"#?RADIANCE"sv, 0, "a Radiance HDR picture"},
    {"#?RGBE"sv, 0, "a Radiance HDR picture"},
    {"8BPS"sv, 0, "a Photoshop document"},
    {"gimp xcf"sv, 0, "a GIMP document"},
    {"AT&TFORM"sv, 0, "a DjVu document"},
    {"\x59\xa6\x6a\x95"sv, 0, "a Sun raster picture"},
    {"\x01\xda"sv, 0, "an SGI picture"},
    {"SIMPLE  ="sv, 0, "a FITS picture"},
    {"DICM"sv, 128, "a DICOM picture"},
    {"\x93NUMPY"sv, 0, "a NumPy array"},
    {"\x89HDF\r\n"sv, 0, "an HDF5 file"},
    {"%PDF"sv, 0, "a PDF document"},
    {"%!PS"sv, 0, "a PostScript document"},
    {"\xc5\xd0\xd3\xc6"sv, 0, "a PostScript document"},
    {"\xd7\xcd\xc6\x9a"sv, 0, "a WMF drawing"},
    {" EMF"sv, 40, "an EMF drawing"},
    {"\x1a\x45\xdf\xa3"sv, 0, "a video (WebM or Matroska)"},
    {"moov"sv, 4, "a video (QuickTime)"},
    {"mdat"sv, 4, "a video (QuickTime)"},
    {"wide"sv, 4, "a video (QuickTime)"},
    {"\0\0\1\xba"sv, 0, "a video (MPEG)"},
    {"\0\0\1\xb3"sv, 0, "a video (MPEG)"},
    {"FLV\1"sv, 0, "a video (FLV)"},
    {"OggS"sv, 0, "an Ogg video or sound file"},
    {"\x30\x26\xb2\x75\x8e\x66\xcf\x11"sv, 0, "a video (WMV)"},
    {"ID3"sv, 0, "a sound file"},
    {"fLaC"sv, 0, "a sound file"},
    {"version https://git-lfs"sv, 0, "a Git LFS pointer, not the file it stands for"},
    {"P1"sv, 0, "a PNM in plain text"},
    {"P2"sv, 0, "a PNM in plain text"},
    {"P3"sv, 0, "a PNM in plain text"},
    {"P4"sv, 0, "a bi-level PBM"},
    {"P7"sv, 0, "a PAM picture"},
    {"PF\n"sv, 0, "a PNM of floating-point numbers (PFM)"},
    {"Pf\n"sv, 0, "a PNM of floating-point numbers (PFM)"},
    {"/* XPM */"sv, 0, "an XPM picture"},
    {"data:image/"sv, 0, "a data URL, not the picture inside it"},
    {"\x1f\x8b"sv, 0, "a gzip archive"},
    {"PK\x03\x04"sv, 0, "a zip archive"},
    {"BZh"sv, 0, "a bzip2 archive"},
    {"\xfd"
     "7zXZ\0"sv,
     0, "an xz archive"},
    {"\x28\xb5\x2f\xfd"sv, 0, "a zstd archive"},
    {"7z\xbc\xaf\x27\x1c"sv, 0, "a 7z archive"},
    {"Rar!"sv, 0, "a rar archive"},
    {"<svg"sv, 0, "an SVG drawing"},
    {"<!DOCTYPE svg"sv, 0, "an SVG drawing"},
    {"<?xml"sv, 0, "an XML document"},
    {"<!DOCTYPE"sv, 0, "an HTML page"},
    {"<!doctype"sv, 0, "an HTML page"},
    {"<html"sv, 0, "an HTML page"},
};

// The brands of ISO base media files: the box "ftyp" has a major one, a version and compatible
// ones.
struct Brand {
  std::string_view bytes;
  const char* name;
};
constexpr Brand kBrands[] = {
    {"avif"sv, "an AVIF picture"},        {"avis"sv, "an AVIF sequence"},
    {"heic"sv, "a HEIC picture"},         {"heix"sv, "a HEIC picture"},
    {"heim"sv, "a HEIC picture"},         {"heis"sv, "a HEIC picture"},
    {"hevc"sv, "a HEIC sequence"},        {"hevx"sv, "a HEIC sequence"},
    {"hevm"sv, "a HEIC sequence"},        {"hevs"sv, "a HEIC sequence"},
    {"j2ki"sv, "a JPEG 2000 picture"},    {"j2is"sv, "a JPEG 2000 sequence"},
    {"jp2 "sv, "a JPEG 2000 picture"},    {"jxl "sv, "a JPEG XL picture"},
    {"crx "sv, "a camera's raw picture"},
};
// Brands that say how the file is built and leave the codec to the compatible brands.
constexpr Brand kGeneralBrands[] = {
    {"mif1"sv, "a HEIF picture"},  {"mif2"sv, "a HEIF picture"}, {"miaf"sv, "a HEIF picture"},
    {"msf1"sv, "a HEIF sequence"}, {"jpeg"sv, "a HEIF picture"}, {"jpgs"sv, "a HEIF sequence"},
    {"M4A "sv, "a sound file"},    {"M4B "sv, "a sound file"},
};

template <size_t N>
const char* name_of_brand(const Brand (&brands)[N], std::string_view brand) {
  for (const Brand& known : brands) {
    if (known.bytes == brand) return known.name;
  }
  return nullptr;
}

// nullptr if it is no ISO base media file.
const char* name_of_base_media(std::string_view bytes) {
  constexpr size_t kMajorAt = 8, kCompatibleAt = 16, kBrandBytes = 4;
  if (bytes.size() < kMajorAt + kBrandBytes || bytes.substr(4, 4) != "ftyp"sv) return nullptr;
  const std::string_view major = bytes.substr(kMajorAt, kBrandBytes);
  if (const char* name = name_of_brand(kBrands, major)) return name;
  const char* general = name_of_brand(kGeneralBrands, major);
  if (general == nullptr) return "a video";
  size_t end = 0;
  for (size_t i = 0; i < 4; ++i) end = end << 8 | static_cast<uint8_t>(bytes[i]);
  end = std::min({end, bytes.size(), size_t{256}});
  for (size_t at = kCompatibleAt; at + kBrandBytes <= end; at += kBrandBytes) {
    if (const char* name = name_of_brand(kBrands, bytes.substr(at, kBrandBytes))) return name;
  }
  return general;
}

const char* name_of(std::string_view bytes) {
  if (const char* name = name_of_base_media(bytes)) return name;
  for (const Named& known : kNamed) {
    if (bytes.size() >= known.offset &&
        bytes.substr(known.offset, known.bytes.size()) == known.bytes) {
      return known.name;
    }
  }
  return nullptr;
}

bool looks_like_text(std::string_view bytes) {
  return std::none_of(bytes.begin(), bytes.end(), [](char c) {
    return static_cast<uint8_t>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
  });
}

// A page or a drawing may begin with a byte order mark, empty lines, a declaration and comments.
const char* name_of_text(std::string_view bytes) {
  const std::string_view start = bytes.substr(0, 4096);
  const size_t first = start.find_first_not_of("\xef\xbb\xbf \t\r\n");
  const std::string_view text = start.substr(std::min(first, start.size()));
  if (text.substr(0, 2) == "<?" || text.substr(0, 4) == "<!--") {
    if (text.find("<svg") != std::string_view::npos) return "an SVG drawing";
    if (text.find("<html") != std::string_view::npos) return "an HTML page";
  }
  const char* name = name_of(text);
  return name != nullptr ? name : "text, not a picture";
}

}  // namespace

ImageFormat recognise_image(const uint8_t* data, size_t size, const std::string& source) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::kInput, source + ": " + what);
  };
  if (size == 0) fail("the file is empty");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const Accepted& accepted : kAccepted) {
    if (bytes.substr(0, accepted.bytes.size()) == accepted.bytes) return accepted.format;
  }
  const char* name = nullptr;
  if (looks_like_text(bytes.substr(0, 256))) {
    name = name_of_text(bytes);
  } else {
    name = name_of(bytes);
  }
  const std::string subject = name != nullptr ? std::string("this is ") + name
                                              : std::string("not a picture in a known format");
  throw Error(ErrorCode::kInput,
              source + ": " + subject + "; accepted are JPEG, PNG, BMP and binary PNM (P5, P6)");
}

}  // namespace lightcap::internal
