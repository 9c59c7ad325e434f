// JPEG (ITU T.81), baseline and progressive. stb_image or libjpeg-turbo decodes; before they do, a
// walk over the segments makes sure that it can, that what it will cost is known, and that it uses
// no table which the file lacks.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "engine/image/decoders.h"
#include "engine/image/turbo.h"
#include "engine/io/limits.h"

namespace lightcap::internal {
namespace {

constexpr size_t kMostComponents = 4;
constexpr size_t kTables = 4;  // of a kind

enum Marker : uint8_t {
  kBaseline = 0xc0,
  kExtended = 0xc1,
  kProgressive = 0xc2,
  kHuffmanTables = 0xc4,
  kArithmeticTables = 0xcc,
  kEndOfImage = 0xd9,
  kScan = 0xda,
  kQuantizationTables = 0xdb,
  kJpegLs = 0xf7,
};

struct Component {
  uint8_t id = 0;
  size_t h = 0, v = 0;  // sampling factors
  size_t quantization = 0;
  bool scanned = false;
};

struct FrameHeader {
  bool progressive = false;
  size_t width = 0, height = 0;
  size_t components = 0;
  std::array<Component, kMostComponents> component;

  size_t h_max() const { return most(&Component::h); }
  size_t v_max() const { return most(&Component::v); }
  size_t blocks_across() const { return (width + 8 * h_max() - 1) / (8 * h_max()); }
  size_t blocks_down() const { return (height + 8 * v_max() - 1) / (8 * v_max()); }
  uint64_t blocks(const Component& c) const {
    return uint64_t{blocks_across()} * c.h * blocks_down() * c.v;
  }
  uint64_t blocks() const {
    uint64_t sum = 0;
    for (size_t i = 0; i < components; ++i) sum += blocks(component[i]);
    return sum;
  }

 private:
  size_t most(size_t Component::*factor) const {
    size_t result = 1;
    for (size_t i = 0; i < components; ++i) result = std::max(result, component[i].*factor);
    return result;
  }
};

// Annex K.3: the tables that encoders use if they don't compute their own, as one segment. Frames
// of Motion JPEG leave them out.
constexpr uint8_t kStandardTables[] = {
    0xff, 0xc4, 0x01, 0xa2,
    // DC, luminance
    0x00, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0,  //
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    // AC, luminance
    0x10, 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d,  //
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
    0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
    // DC, chrominance
    0x01, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0,  //
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    // AC, chrominance
    0x11, 0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77,  //
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa};
constexpr size_t kStandardIds = 2;  // of either kind
static_assert(sizeof(kStandardTables) == 2 + 0x1a2);

// Goes over the segments of a file as stb_image will, and refuses what that cannot decode.
class Walk {
 public:
  explicit Walk(const EncodedImage& file) : file_(file) {}

  void run();
  const FrameHeader& frame() const { return frame_; }
  // The file uses tables of Annex K that it does not define.
  bool needs_standard_tables() const { return needs_standard_tables_; }

 private:
  void segment(uint8_t marker, size_t begin, size_t end);
  void read_frame(uint8_t marker, size_t begin, size_t end);
  void read_huffman_tables(size_t begin, size_t end);
  void read_quantization_tables(size_t begin, size_t end);
  void read_scan(size_t begin, size_t end);
  void check_tables(const Component& component, uint8_t huffman, bool dc, bool ac);
  void need_huffman_table(bool defined, size_t id);
  void charge_scan(uint64_t blocks, uint64_t coefficients);
  void check_complete() const;
  [[noreturn]] void damaged(const std::string& what) const {
    file_.refuse("the JPEG is damaged: " + what);
  }

  const EncodedImage& file_;
  FrameHeader frame_;
  uint64_t scans_ = 0, coefficients_ = 0, most_coefficients_ = 0;
  bool dc_defined_[kTables] = {}, ac_defined_[kTables] = {}, quantization_defined_[kTables] = {};
  bool needs_standard_tables_ = false;
};

void Walk::run() {
  const uint8_t* data = file_.data;
  const size_t size = file_.size;
  size_t at = 2;
  while (size - at >= 2) {
    if (data[at] != 0xff) {  // entropy-coded data, or filling between segments
      const void* next = std::memchr(data + at, 0xff, size - at - 1);
      if (next == nullptr) break;
      at = static_cast<size_t>(static_cast<const uint8_t*>(next) - data);
    }
    const uint8_t marker = data[at + 1];
    if (marker == kEndOfImage) return check_complete();
    if (marker == 0xff) {  // filling
      ++at;
      continue;
    }
    const bool stands_alone = marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8);
    if (stands_alone) {
      at += 2;
      continue;
    }
    if (size - at < 4) break;
    const size_t length = file_.big_endian_u16(at + 2);
    if (length > size - at - 2) break;
    if (length < 2) damaged("a segment at byte " + std::to_string(at) + " has no length");
    segment(marker, at + 4, at + 2 + length);
    at += 2 + length;
  }
  // stb_image would paint the rest grey.
  file_.refuse("the JPEG is cut short: it has no end marker within its " + std::to_string(size) +
               " bytes");
}

void Walk::segment(uint8_t marker, size_t begin, size_t end) {
  const std::string accepted = "; accepted are baseline and progressive ones with Huffman codes";
  switch (marker) {
    case kBaseline:
    case kExtended:
    case kProgressive:
      return read_frame(marker, begin, end);
    case kHuffmanTables:
      return read_huffman_tables(begin, end);
    case kQuantizationTables:
      return read_quantization_tables(begin, end);
    case kScan:
      return read_scan(begin, end);
    case 0xc3:
    case 0xc7:
      file_.refuse("this JPEG is lossless" + accepted);
    case 0xc5:
    case 0xc6:
    case 0xde:
      file_.refuse("this JPEG is hierarchical" + accepted);
    case 0xcb:
    case 0xcf:
      file_.refuse("this JPEG is lossless and arithmetic-coded" + accepted);
    case 0xc9:
    case 0xca:
    case kArithmeticTables:
    case 0xcd:
    case 0xce:
      file_.refuse("this JPEG is arithmetic-coded" + accepted);
    case kJpegLs:
      file_.refuse("this is a JPEG-LS picture" + accepted);
    default:
      return;
  }
}

void Walk::read_frame(uint8_t marker, size_t begin, size_t end) {
  constexpr size_t kFields = 6, kComponentFields = 3;
  if (frame_.components != 0) damaged("it has two frame headers");
  if (end - begin < kFields) damaged("its frame header is too short");
  const size_t bits = file_.data[begin];
  if (bits != 8) {
    file_.refuse("this JPEG has " + std::to_string(bits) + " bits a sample; accepted are 8");
  }
  frame_.progressive = marker == kProgressive;
  frame_.height = file_.big_endian_u16(begin + 1);
  frame_.width = file_.big_endian_u16(begin + 3);
  if (frame_.height == 0 && frame_.width != 0)
    file_.refuse("this JPEG gives its height behind its data (DNL); that is not supported");
  file_.check_size(frame_.width, frame_.height);
  const size_t components = file_.data[begin + 5];
  if (end - begin != kFields + kComponentFields * components)
    damaged("its frame header has the wrong length");
  if (components != 1 && components != 3 && components != 4) {
    file_.refuse("this JPEG has " + std::to_string(components) +
                 " components; accepted are 1, 3 and 4");
  }
  frame_.components = components;
  for (size_t i = 0; i < components; ++i) {
    const uint8_t* stored = file_.data + begin + kFields + kComponentFields * i;
    frame_.component[i] = {stored[0], size_t{stored[1]} >> 4, size_t{stored[1]} & 15, stored[2]};
    const Component& c = frame_.component[i];
    if (c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4)
      damaged("it has a sampling factor outside 1 to 4");
    if (c.quantization >= kTables) damaged("it uses a quantization table outside 0 to 3");
  }
  for (size_t i = 0; i < components; ++i) {
    if (frame_.h_max() % frame_.component[i].h != 0 || frame_.v_max() % frame_.component[i].v != 0)
      file_.refuse(
          "this JPEG has sampling factors of which one does not divide the largest; that "
          "is not supported");
  }
  most_coefficients_ = limits::jpeg_coefficients(frame_.blocks(), file_.size);
}

void Walk::read_huffman_tables(size_t begin, size_t end) {
  constexpr size_t kCounts = 16;  // of codes, by length
  while (begin < end) {
    if (end - begin <= kCounts) damaged("it has a Huffman table that cannot be");
    const uint8_t kind = file_.data[begin] >> 4, id = file_.data[begin] & 15;
    size_t codes = 0;
    for (size_t i = 1; i <= kCounts; ++i) codes += file_.data[begin + i];
    // stb_image before 2.28 writes beyond its tables where one has more than 256 codes.
    if (kind > 1 || id >= kTables || codes > 256 || end - begin < 1 + kCounts + codes)
      damaged("it has a Huffman table that cannot be");
    (kind == 0 ? dc_defined_ : ac_defined_)[id] = true;
    begin += 1 + kCounts + codes;
  }
}

void Walk::read_quantization_tables(size_t begin, size_t end) {
  while (begin < end) {
    const uint8_t precision = file_.data[begin] >> 4, id = file_.data[begin] & 15;
    const size_t bytes = 1 + 64 * (size_t{precision} + 1);
    if (precision > 1 || id >= kTables || bytes > end - begin)
      damaged("it has a quantization table that cannot be");
    quantization_defined_[id] = true;
    begin += bytes;
  }
}

void Walk::read_scan(size_t begin, size_t end) {
  if (frame_.components == 0) damaged("a scan comes before the frame header");
  const size_t components = begin < end ? file_.data[begin] : 0;
  if (components < 1 || components > frame_.components || end - begin != 4 + 2 * components)
    damaged("it has a scan header that cannot be");
  const uint8_t* selection = file_.data + end - 3;
  const bool first_pass = selection[2] >> 4 == 0;
  const bool dc = frame_.progressive ? selection[0] == 0 && first_pass : true;
  const bool ac = frame_.progressive ? selection[0] != 0 : true;
  uint64_t blocks = 0;
  for (size_t i = 0; i < components; ++i) {
    const uint8_t* stored = file_.data + begin + 1 + 2 * i;
    const auto begin_components = frame_.component.begin();
    const auto end_components = begin_components + static_cast<std::ptrdiff_t>(frame_.components);
    const auto found = std::find_if(begin_components, end_components,
                                    [&](const Component& c) { return c.id == stored[0]; });
    if (found == end_components) damaged("a scan is of a component that the frame lacks");
    check_tables(*found, stored[1], dc, ac);
    found->scanned = true;
    blocks += frame_.blocks(*found);
  }
  // A baseline scan transforms its blocks as well, which is as much again; and one of each
  // component is all that it has.
  const bool chosen = frame_.progressive && selection[0] <= selection[1];
  charge_scan(blocks, chosen ? uint64_t{selection[1]} - selection[0] + 1 : uint64_t{2} * 64);
}

void Walk::check_tables(const Component& component, uint8_t huffman, bool dc, bool ac) {
  const size_t dc_id = huffman >> 4, ac_id = huffman & 15;
  if (dc_id >= kTables || ac_id >= kTables) damaged("a scan uses a Huffman table outside 0 to 3");
  if (dc) need_huffman_table(dc_defined_[dc_id], dc_id);
  if (ac) need_huffman_table(ac_defined_[ac_id], ac_id);
  if (!quantization_defined_[component.quantization])
    damaged("it uses a quantization table that it does not define");
}

void Walk::need_huffman_table(bool defined, size_t id) {
  if (defined) return;
  if (frame_.progressive || id >= kStandardIds)
    damaged("it uses a Huffman table that it does not define");
  needs_standard_tables_ = true;
}

// A scan may go over all blocks and cost the file a few bytes: behind the end of its data, decoders
// go on with zeros, which can mean any coefficient.
void Walk::charge_scan(uint64_t blocks, uint64_t coefficients) {
  ++scans_;
  coefficients_ += blocks * (limits::kJpegBlockVisit + coefficients);
  if (coefficients_ > most_coefficients_) {
    file_.refuse("the first " + std::to_string(scans_) + " scans of this JPEG go over more than " +
                 std::to_string(most_coefficients_) +
                 " coefficients, the limit for a picture of this size");
  }
}

void Walk::check_complete() const {
  if (frame_.components == 0) damaged("it has no frame header");
  for (size_t i = 0; i < frame_.components; ++i) {
    if (!frame_.component[i].scanned)
      damaged("there is no scan of its component " + std::to_string(i));
  }
}

// The memory that stb_image holds at once: samples and, if progressive, coefficients of each
// component, and the pixels.
uint64_t memory_limit(const FrameHeader& frame) {
  constexpr uint64_t kSamples = 64, kTablesAndLines = uint64_t{1} << 18;
  const uint64_t sample_bytes = frame.progressive ? 3 : 1;
  return kTablesAndLines + frame.blocks() * kSamples * sample_bytes +
         uint64_t{3} * frame.width * frame.height;
}

}  // namespace

Image decode_jpeg(const EncodedImage& file) {
  Walk walk(file);
  walk.run();
  std::vector<uint8_t> repaired;
  const uint8_t* bytes = file.data;
  size_t size = file.size;
  if (walk.needs_standard_tables()) {
    // Behind the start marker, so that tables of the file's own replace them.
    repaired = spliced(bytes, size, 2, 0, {std::begin(kStandardTables), std::end(kStandardTables)});
    bytes = repaired.data();
    size = repaired.size();
  }
  if (Image image = turbo_decode(file, bytes, size); image.pixels != nullptr) return image;
  const uint64_t limit = memory_limit(walk.frame());
  StbPicture picture =
      stb_decode_jpeg(bytes, size, {.bytes = limit, .interruption = file.use.interruption});
  if (picture.pixels == nullptr) file.refuse_undecoded("JPEG", limit, picture);
  return {picture.width, picture.height, std::move(picture.pixels)};
}

}  // namespace lightcap::internal
