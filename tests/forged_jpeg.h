// JPEGs of any size and any number of scans that have hardly any bytes.
#ifndef LIGHTCAP_TESTS_FORGED_JPEG_H_
#define LIGHTCAP_TESTS_FORGED_JPEG_H_

#include <string_view>
#include <vector>

#include "tests/pictures.h"

namespace lightcap::internal::testing {

struct ForgedFrame {
  uint8_t kind;  // 0xc0: baseline, 0xc2: progressive
  uint32_t width, height;
  uint8_t components;
};

// The last bytes of a scan header, behind the components: first and last coefficient, and bits.
using ForgedScan = std::string_view;
constexpr ForgedScan kBaselineScan{"\0\x3f\0", 3};
constexpr ForgedScan kFirstDc{"\0\0\x01", 3}, kNextDc{"\0\0\x10", 3};

// The scans of a progressive JPEG whose first has the upper bits of all blocks, and `count` others
// one bit more each.
inline std::vector<ForgedScan> refinements(size_t count) {
  std::vector<ForgedScan> scans(count + 1, kNextDc);
  scans[0] = kFirstDc;
  return scans;
}

// A picture in one grey, with scans of all components. Each scan's data are missing: decoders go on
// with zero bits, which these Huffman tables read as "the same as before".
inline Buffer forged(const ForgedFrame& frame, const std::vector<ForgedScan>& scans) {
  const auto low = [](uint32_t value) { return static_cast<uint8_t>(value); };
  Buffer file = {0xff, 0xd8};
  Buffer quantization(65, 1);
  quantization[0] = 0;
  append(file, jpeg_segment(0xdb, quantization));
  Buffer tables;
  for (const uint8_t kind :
       {uint8_t{0x00}, uint8_t{0x10}}) {  // one code, "0", for 0 or end of block
    append(tables, {kind, 1});
    append(tables, Buffer(15 + 1));
  }
  append(file, jpeg_segment(0xc4, tables));
  Buffer header = {8,
                   low(frame.height >> 8),
                   low(frame.height),
                   low(frame.width >> 8),
                   low(frame.width),
                   frame.components};
  for (uint8_t i = 0; i < frame.components; ++i) append(header, {i, 0x11, 0});
  append(file, jpeg_segment(frame.kind, header));
  for (const ForgedScan& scan : scans) {
    Buffer selection = {frame.components};
    for (uint8_t i = 0; i < frame.components; ++i) append(selection, {i, 0});
    append(selection, bytes_of(scan));
    append(file, jpeg_segment(0xda, selection));
  }
  append(file, {0xff, 0xd9});
  return file;
}

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_FORGED_JPEG_H_
